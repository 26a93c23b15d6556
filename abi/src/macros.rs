//! How a structure of a public header is written down.

/// Declares structures laid out as in C: `repr(C)`, public fields, copyable, comparable, and convertible from and to
/// bytes. `Default` is all zeroes, which is what the C side means by an initialised argument.
macro_rules! structs {
    ($($(#[$meta:meta])* pub struct $name:ident {
        $($(#[$field_meta:meta])* $field:ident: $type:ty,)*
    })+) => {$(
        $(#[$meta])*
        #[repr(C)]
        #[derive(
            Clone, Copy, Debug, PartialEq, Eq,
            zerocopy::FromBytes, zerocopy::IntoBytes, zerocopy::Immutable, zerocopy::KnownLayout,
        )]
        pub struct $name {
            $($(#[$field_meta])* pub $field: $type,)*
        }

        impl Default for $name {
            fn default() -> Self {
                zerocopy::FromZeros::new_zeroed()
            }
        }
    )+};
}

/// Gives a structure one reader and one writer per member of its [`Union`](crate::Union) field.
macro_rules! union_accessors {
    ($owner:ident.$field:ident { $($get:ident, $set:ident: $type:ty,)+ }) => {
        impl $owner {$(
            #[doc = concat!("Reads `", stringify!($field), "` as `", stringify!($type), "`.")]
            pub fn $get(&self) -> $type {
                self.$field.get()
            }

            #[doc = concat!("Writes `", stringify!($field), "` as `", stringify!($type), "`, the rest of it as zeroes.")]
            pub fn $set(&mut self, value: $type) {
                self.$field.set(value);
            }
        )+}
    };
}
