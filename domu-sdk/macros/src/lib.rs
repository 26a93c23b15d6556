//! `#[domu_sdk::main]`: names the function that the entry code calls.
//!
//! Written on `proc_macro` alone, because a guest's build should not wait for a parser of the whole language: all that is
//! needed from the item is its name and whether it is `async`.

#![forbid(unsafe_code)]

use proc_macro::{TokenStream, TokenTree};

/// Marks the function that runs once memory, traps, events and the console are up.
///
/// It takes no argument and may be `async`. What it returns decides how the domain ends, see `domu_sdk::start::Outcome`.
#[proc_macro_attribute]
pub fn main(attribute: TokenStream, item: TokenStream) -> TokenStream {
    if !attribute.is_empty() {
        return error("#[domu_sdk::main] takes no arguments");
    }
    match Signature::of(&item) {
        Ok(signature) => expand(item, &signature),
        Err(message) => error(message),
    }
}

/// What the macro needs to know about the function.
struct Signature {
    name: String,
    is_async: bool,
}

impl Signature {
    fn of(item: &TokenStream) -> Result<Self, &'static str> {
        let mut is_async = false;
        let mut tokens = item.clone().into_iter();
        while let Some(token) = tokens.next() {
            match token {
                TokenTree::Ident(word) if word.to_string() == "async" => is_async = true,
                TokenTree::Ident(word) if word.to_string() == "fn" => {
                    return Self::after_fn(&mut tokens, is_async);
                }
                _ => {}
            }
        }
        Err("#[domu_sdk::main] belongs on a function")
    }

    fn after_fn(tokens: &mut impl Iterator<Item = TokenTree>, is_async: bool) -> Result<Self, &'static str> {
        let Some(TokenTree::Ident(name)) = tokens.next() else {
            return Err("the function has no name");
        };
        match tokens.next() {
            Some(TokenTree::Group(arguments)) if arguments.stream().is_empty() => {
                Ok(Self { name: name.to_string(), is_async })
            }
            Some(TokenTree::Group(_)) => {
                Err("the main function takes no arguments; see domu_sdk::start::info()")
            }
            _ => Err("the main function cannot be generic"),
        }
    }
}

fn expand(item: TokenStream, signature: &Signature) -> TokenStream {
    let runner = if signature.is_async { "run_async" } else { "run" };
    let glue = format!(
        "const _: () = {{ #[unsafe(no_mangle)] extern \"Rust\" fn domu_sdk_main() -> ! {{ ::domu_sdk::start::{runner}({}) }} }};",
        signature.name
    );
    let mut out = item;
    out.extend(glue.parse::<TokenStream>().expect("the glue is valid Rust"));
    out
}

fn error(message: &str) -> TokenStream {
    format!("::core::compile_error!({message:?});").parse().expect("the message is a valid literal")
}
