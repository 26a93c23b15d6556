//! Values of options: booleans, sizes, numbers, lists.

use super::options::{CpuFeatureUse, LogLevel, LogThresholds, MemoryAmount};

/// A value that cannot be used, and what was expected.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Bad(pub &'static str);

pub(super) type Result<T> = core::result::Result<T, Bad>;

/// What stands behind a name.
#[derive(Debug, Clone, Copy)]
pub(super) struct Value<'a> {
    /// What follows `=`, if there is one.
    pub text: Option<&'a str>,
    /// False for `no-name`.
    pub on: bool,
}

impl<'a> Value<'a> {
    /// The text, which must be there.
    pub fn required(self) -> Result<&'a str> {
        self.text.filter(|text| !text.is_empty() && self.on).ok_or(Bad("a value (name=value)"))
    }

    /// A number, which must be there.
    pub fn number(self) -> Result<u32> {
        number(self.required()?).and_then(|n| u32::try_from(n).map_err(|_| Bad("a number below 2^32")))
    }

    /// On or off: `name`, `no-name`, `name=yes`, `name=off`.
    pub fn boolean(self) -> Result<bool> {
        match self.text {
            None | Some("") => Ok(self.on),
            Some(text) => boolean(text).map(|value| value == self.on).ok_or(Bad("a boolean (yes or no)")),
        }
    }

    /// On, off, or `hvm`.
    pub fn feature(self) -> Result<CpuFeatureUse> {
        if self.text == Some("hvm") && self.on {
            return Ok(CpuFeatureUse::HvmOnly);
        }
        let on = self.boolean().map_err(|_| Bad("a boolean or \"hvm\""))?;
        Ok(if on { CpuFeatureUse::On } else { CpuFeatureUse::Off })
    }
}

/// Names are the same whether written with `-` or `_`.
pub(super) fn same_name(a: &str, b: &str) -> bool {
    let plain = |c: u8| if c == b'_' { b'-' } else { c };
    a.len() == b.len() && a.bytes().map(plain).eq(b.bytes().map(plain))
}

pub(super) fn boolean(text: &str) -> Option<bool> {
    match text {
        "yes" | "on" | "true" | "enable" | "1" => Some(true),
        "no" | "off" | "false" | "disable" | "0" => Some(false),
        _ => None,
    }
}

/// Decimal, `0x` hexadecimal, or octal with a leading 0.
pub(super) fn number(text: &str) -> Result<u64> {
    let (digits, radix) = match text.strip_prefix("0x").or_else(|| text.strip_prefix("0X")) {
        Some(digits) => (digits, 16),
        None if text.len() > 1 && text.starts_with('0') => (text, 8),
        None => (text, 10),
    };
    if !digits.starts_with(|c: char| c.is_ascii_hexdigit()) {
        return Err(Bad("a number"));
    }
    u64::from_str_radix(digits, radix).map_err(|_| Bad("a number"))
}

/// A size with suffix B, K, M, G or T; without one it counts KiB.
pub(super) fn size(text: &str) -> Result<u64> {
    const EXPECTED: Bad = Bad("a size (number with B, K, M, G or T)");
    let (digits, shift) = match text.as_bytes().last() {
        Some(b'B' | b'b') if !text.starts_with("0x") => (&text[..text.len() - 1], 0),
        Some(b'K' | b'k') => (&text[..text.len() - 1], 10),
        Some(b'M' | b'm') => (&text[..text.len() - 1], 20),
        Some(b'G' | b'g') => (&text[..text.len() - 1], 30),
        Some(b'T' | b't') => (&text[..text.len() - 1], 40),
        _ => (text, 10),
    };
    let value = number(digits).map_err(|_| EXPECTED)?;
    value.checked_mul(1 << shift).ok_or(EXPECTED)
}

/// `size`, `-size`, `percent%` or `size+percent%`.
pub(super) fn amount(text: &str) -> Result<MemoryAmount> {
    const EXPECTED: Bad = Bad("a memory amount (256M, -128M, 50% or 512M+25%)");
    let (negative, text) = text.strip_prefix('-').map_or((false, text), |rest| (true, rest));
    let (size_text, percent_text) = match text.strip_suffix('%') {
        None => (Some(text), None),
        Some(rest) => match rest.split_once('+') {
            Some((size, percent)) => (Some(size), Some(percent)),
            None => (None, Some(rest)),
        },
    };
    let bytes = size_text.map_or(Ok(0), size).map_err(|_| EXPECTED)?;
    let percent = percent_text.map_or(Ok(0), number).map_err(|_| EXPECTED)?;
    match u8::try_from(percent) {
        Ok(percent) if percent < 100 => Ok(MemoryAmount { negative, bytes, percent }),
        _ => Err(EXPECTED),
    }
}

/// `level` or `level/rate-limited-level`.
pub(super) fn thresholds(text: &str) -> Result<LogThresholds> {
    const EXPECTED: Bad = Bad("none, error, warning, info, debug or all (level[/level])");
    let level = |text| {
        Ok(match text {
            "none" => LogLevel::None,
            "error" => LogLevel::Error,
            "warning" => LogLevel::Warning,
            "info" => LogLevel::Info,
            "debug" | "all" => LogLevel::All,
            _ => return Err(EXPECTED),
        })
    };
    let (always, limited) = text.split_once('/').unwrap_or((text, text));
    let (always, limited) = (level(always)?, level(limited)?);
    Ok(LogThresholds { always, rate_limited: limited.max(always) })
}
