//! How the lists are written.

/// The C name of a field: given, or the Rust name without a trailing underscore.
macro_rules! c_field {
    ($field:ident) => {
        stringify!($field).trim_end_matches('_')
    };
    ($field:ident $c:literal) => {
        $c
    };
}

/// Rows for the structures of one header.
macro_rules! structs {
    ($rows:ident, $header:literal, $($module:ident)::+ [
        $($c:literal => $name:ident { $($field:ident $(= $c_field:literal)?),* $(,)? },)*
    ]) => {{
        use $($module)::+ as m;
        $($rows.push($crate::c_side::Struct {
            header: $header,
            name: $c,
            rust: stringify!($name),
            size: size_of::<m::$name>(),
            align: align_of::<m::$name>(),
            fields: vec![$((
                c_field!($field $($c_field)?),
                core::mem::offset_of!(m::$name, $field),
                $crate::c_side::field_size(|s: &m::$name| &s.$field),
            )),*],
        });)*
    }};
}

/// Rows for the constants of one header.
macro_rules! consts {
    ($rows:ident, $header:literal, $($module:ident)::+ [ $($name:ident,)* ]) => {{
        use $($module)::+ as m;
        $($rows.push(Const { header: $header, name: stringify!($name).to_string(), value: m::$name as i64 });)*
    }};
}

/// Rows for constants whose C names start with `$prefix`.
macro_rules! prefixed {
    ($rows:ident, $header:literal, $prefix:literal, $($module:ident)::+ [ $($name:ident,)* ]) => {{
        use $($module)::+ as m;
        $($rows.push(Const {
            header: $header,
            name: format!("{}{}", $prefix, stringify!($name)),
            value: m::$name as i64,
        });)*
    }};
}

/// A row for a string.
macro_rules! text {
    ($header:literal, $($module:ident)::+, $name:ident) => {
        Text { header: $header, name: stringify!($name), value: $($module)::+::$name }
    };
}
