//! Node names: which are legal, and how a client's relative names become absolute.
//!
//! A path is `/` or components of letters, digits and `-/_@`, without empty components and without a trailing slash.
//! A path that does not begin with `/` is relative to the client's home, `/local/domain/N`. Names that begin with
//! `@` are the two special watch names; they are no nodes.

use alloc::format;
use alloc::string::{String, ToString};

use super::wire::{ABS_PATH_MAX, Error, REL_PATH_MAX};
use crate::DomId;

/// Fires when a domain was connected to the store.
pub const INTRODUCE: &str = "@introduceDomain";
/// Fires when a domain died or was disconnected.
pub const RELEASE: &str = "@releaseDomain";

/// Home path of a domain.
pub fn home(dom: DomId) -> String {
    format!("/local/domain/{dom}")
}

/// Whether this is a special watch name.
pub fn is_special(path: &str) -> bool {
    path == INTRODUCE || path == RELEASE
}

/// Turns what a client sent into an absolute path, or says why not.
///
/// Errors: `EINVAL` for illegal characters, empty components, a trailing slash or a name that is too long.
pub fn canonical(client: DomId, given: &str) -> Result<String, Error> {
    if !given.bytes().all(|b| b.is_ascii_alphanumeric() || b"-/_@".contains(&b)) {
        return Err(Error::EINVAL);
    }
    let absolute = if given.starts_with('/') {
        given.to_string()
    } else if given.is_empty() || given.len() > REL_PATH_MAX {
        return Err(Error::EINVAL);
    } else {
        format!("{}/{given}", home(client))
    };
    let sound = absolute == "/" || !(absolute.ends_with('/') || absolute.contains("//"));
    if sound && absolute.len() <= ABS_PATH_MAX { Ok(absolute) } else { Err(Error::EINVAL) }
}

/// As [`canonical`], and lets the special watch names through.
pub fn canonical_watch(client: DomId, given: &str) -> Result<String, Error> {
    if given.starts_with('@') {
        return if is_special(given) { Ok(given.to_string()) } else { Err(Error::EINVAL) };
    }
    canonical(client, given)
}

/// The parent's path; `None` for the root.
pub fn parent(path: &str) -> Option<&str> {
    let slash = path.rfind('/')?;
    match (path.len(), slash) {
        (1, _) => None,
        (_, 0) => Some("/"),
        _ => Some(&path[..slash]),
    }
}

/// The last component.
pub fn leaf(path: &str) -> &str {
    path.rsplit('/').next().unwrap_or("")
}

/// The path of a child.
pub fn child(parent: &str, name: &str) -> String {
    if parent == "/" { format!("/{name}") } else { format!("{parent}/{name}") }
}

/// Whether `path` is `top` or lies below it.
pub fn is_at_or_below(path: &str, top: &str) -> bool {
    if top == "/" {
        return path.starts_with('/');
    }
    path.strip_prefix(top).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

#[cfg(test)]
mod tests {
    use super::*;

    const D5: DomId = DomId(5);

    #[test]
    fn canonical_paths() {
        assert_eq!(canonical(D5, "device/vbd").as_deref(), Ok("/local/domain/5/device/vbd"));
        assert_eq!(canonical(D5, "/").as_deref(), Ok("/"));
        assert_eq!(canonical(D5, "/a/b").as_deref(), Ok("/a/b"));
        for bad in ["", "/a/", "//", "/a//b", "a b", "/a\u{e9}", "/a*", "/a."] {
            assert_eq!(canonical(D5, bad), Err(Error::EINVAL), "{bad:?}");
        }
        let long = "/a".repeat(ABS_PATH_MAX / 2);
        assert!(canonical(D5, &long).is_ok());
        assert_eq!(canonical(D5, &(long + "b")), Err(Error::EINVAL));
        assert_eq!(canonical(D5, &"a".repeat(REL_PATH_MAX + 1)), Err(Error::EINVAL));
    }

    #[test]
    fn special_names_only_in_watches() {
        assert_eq!(canonical_watch(D5, RELEASE).as_deref(), Ok(RELEASE));
        assert_eq!(canonical_watch(D5, "@other"), Err(Error::EINVAL));
    }

    #[test]
    fn family() {
        assert_eq!(parent("/"), None);
        assert_eq!(parent("/a"), Some("/"));
        assert_eq!(parent("/a/b"), Some("/a"));
        assert_eq!(leaf("/a/b"), "b");
        assert_eq!(child("/", "a"), "/a");
        assert_eq!(child("/a", "b"), "/a/b");
        assert!(is_at_or_below("/a/b", "/a") && is_at_or_below("/a", "/a") && is_at_or_below("/a", "/"));
        assert!(!is_at_or_below("/ab", "/a") && !is_at_or_below("/", "/a"));
        assert!(!is_at_or_below("@releaseDomain", "/"));
    }
}
