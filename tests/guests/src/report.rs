//! The lines by which a kernel tells the runner how its checks went.

use alloc::string::String;
use domu_sdk::println;

/// Prints a line for each check, and at last `RESULT: pass` or `RESULT: fail`.
pub fn checks<const N: usize>(checks: [(&str, Result<(), String>); N]) {
    let mut good = N > 0;
    for (name, check) in checks {
        match check {
            Ok(()) => println!("TEST {name} ok"),
            Err(reason) => {
                good = false;
                println!("TEST {name} FAILED {reason}");
            }
        }
    }
    println!("RESULT: {}", if good { "pass" } else { "fail" });
}
