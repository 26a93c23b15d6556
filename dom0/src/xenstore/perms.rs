//! Permissions of a node: an owner, what everybody may do, and exceptions.
//!
//! The wire form is a list of strings such as `n3`, `r5`: a letter (`n` none, `r` read, `w` write, `b` both) and a
//! domain id. The first entry names the **owner**, who may do everything; its letter is what domains not named
//! further on may do. Domain 0 may do everything everywhere. A domain also has the rights of its target, if
//! `SET_TARGET` gave it one.

use alloc::format;
use alloc::string::String;
use alloc::vec;
use alloc::vec::Vec;

use super::wire::Error;
use crate::DomId;

/// What an entry grants.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Access {
    /// May read value, children and permissions.
    pub read: bool,
    /// May change or remove the node and create children.
    pub write: bool,
}

impl Access {
    /// `n`.
    pub const NONE: Self = Self { read: false, write: false };
    /// `r`.
    pub const READ: Self = Self { read: true, write: false };
    /// `w`.
    pub const WRITE: Self = Self { read: false, write: true };
    /// `b`.
    pub const BOTH: Self = Self { read: true, write: true };

    fn letter(self) -> char {
        match (self.read, self.write) {
            (false, false) => 'n',
            (true, false) => 'r',
            (false, true) => 'w',
            (true, true) => 'b',
        }
    }

    fn covers(self, wanted: Self) -> bool {
        (self.read || !wanted.read) && (self.write || !wanted.write)
    }
}

/// The permission list of a node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Perms {
    /// Who may do everything.
    pub owner: DomId,
    /// What domains not in `others` may do.
    pub default: Access,
    /// Exceptions; the first entry for a domain counts.
    pub others: Vec<(DomId, Access)>,
}

/// Who asks: a domain and, if it acts for another, that one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Subject {
    /// The asking domain.
    pub dom: DomId,
    /// The domain whose rights it has as well.
    pub target: Option<DomId>,
}

impl Subject {
    /// A domain that acts for nobody else.
    pub fn new(dom: DomId) -> Self {
        Self { dom, target: None }
    }

    /// Domain 0 may do everything.
    pub fn is_privileged(self) -> bool {
        self.dom == DomId::ZERO
    }
}

impl Perms {
    /// A list with only an owner and a default.
    pub fn new(owner: DomId, default: Access) -> Self {
        Self { owner, default, others: Vec::new() }
    }

    /// Whether `who` may do all of `wanted`.
    pub fn allows(&self, who: Subject, wanted: Access) -> bool {
        who.is_privileged()
            || self.of(who.dom).covers(wanted)
            || who.target.is_some_and(|target| self.of(target).covers(wanted))
    }

    /// Whether `who` owns the node (domain 0 owns everything).
    pub fn owned_by(&self, who: Subject) -> bool {
        who.is_privileged() || who.dom == self.owner || who.target == Some(self.owner)
    }

    fn of(&self, dom: DomId) -> Access {
        if dom == self.owner {
            return Access::BOTH;
        }
        self.others.iter().find(|(id, _)| *id == dom).map_or(self.default, |(_, access)| *access)
    }

    /// Entries including the owner's.
    pub fn count(&self) -> usize {
        1 + self.others.len()
    }

    /// The wire form: NUL-terminated strings.
    pub fn encode(&self) -> Vec<u8> {
        let mut text = format!("{}{}\0", self.default.letter(), self.owner);
        for (dom, access) in &self.others {
            text += &format!("{}{dom}\0", access.letter());
        }
        text.into_bytes()
    }

    /// Reads the wire form. `EINVAL` for an empty list, an unknown letter or a bad number.
    pub fn decode(payload: &[u8]) -> Result<Self, Error> {
        let body = payload.strip_suffix(&[0]).ok_or(Error::EINVAL)?;
        let mut entries = vec![];
        for part in body.split(|&b| b == 0) {
            entries.push(entry(part)?);
        }
        let (owner, default) = entries[0];
        Ok(Self { owner, default, others: entries.split_off(1) })
    }

    /// The list in one printable line.
    pub fn display(&self) -> String {
        let bytes = self.encode();
        String::from_utf8_lossy(&bytes).trim_end_matches('\0').replace('\0', ",")
    }
}

fn entry(part: &[u8]) -> Result<(DomId, Access), Error> {
    let text = core::str::from_utf8(part).map_err(|_| Error::EINVAL)?;
    let access = match text.chars().next() {
        Some('n') => Access::NONE,
        Some('r') => Access::READ,
        Some('w') => Access::WRITE,
        Some('b') => Access::BOTH,
        _ => return Err(Error::EINVAL),
    };
    let dom: u16 = super::wire::number(&text[1..])?;
    Ok((DomId(dom), access))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn owner_default_exception() {
        let perms = Perms::decode(b"r3\0w5\0n6\0").unwrap();
        let may = |dom, access| perms.allows(Subject::new(DomId(dom)), access);
        assert!(may(3, Access::BOTH) && may(0, Access::BOTH));
        assert!(may(9, Access::READ) && !may(9, Access::WRITE));
        assert!(may(5, Access::WRITE) && !may(5, Access::READ));
        assert!(!may(6, Access::READ));
        let acting = Subject { dom: DomId(6), target: Some(DomId(3)) };
        assert!(perms.allows(acting, Access::BOTH) && perms.owned_by(acting));
    }

    #[test]
    fn round_trip_and_refusals() {
        assert_eq!(Perms::decode(b"b0\0r12\0").unwrap().encode(), b"b0\0r12\0");
        for bad in [&b""[..], b"\0", b"x1\0", b"r\0", b"r70000\0", b"r1", b"\xff1\0"] {
            assert_eq!(Perms::decode(bad), Err(Error::EINVAL), "{bad:?}");
        }
    }
}
