//! Tests of trap delivery.
