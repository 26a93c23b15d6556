//! The tree of nodes and the view that a request or a transaction has of it.
//!
//! [`Tree`] is the committed state: a map from absolute path to [`Node`], where each node lists its children's names.
//! Invariants, checked by [`Tree::check`]: the root exists; a node exists if and only if its parent lists it; the count
//! of nodes per owner is right. Every change stamps the node with a fresh **generation**.
//!
//! [`View`] lays a transaction's [`Overlay`] over the tree. Outside transactions a request uses an overlay as well,
//! committed at once, so there is one way to change nodes. The overlay remembers the generation of every path that was
//! looked at; it can be committed while all of those still hold. That makes committed transactions serialisable:
//! everything a transaction saw is still true when its changes become visible, all at once.

use alloc::collections::{BTreeMap, BTreeSet};
use alloc::rc::Rc;
use alloc::string::{String, ToString};
use alloc::vec;
use alloc::vec::Vec;

use super::path;
use super::perms::{Access, Perms, Subject};
use super::wire::Error;
use crate::DomId;

/// One node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Node {
    /// The value, any bytes.
    pub value: Vec<u8>,
    /// Who may do what.
    pub perms: Perms,
    /// Names of the children. They are shared, so that a node with many costs little to copy: each request copies what it changes.
    pub children: BTreeSet<Rc<str>>,
    /// Stamp of the last change to value, permissions or child list.
    pub generation: u64,
}

/// The committed state.
#[derive(Debug)]
pub struct Tree {
    nodes: BTreeMap<String, Node>,
    owned: BTreeMap<DomId, usize>,
    generation: u64,
}

/// A change of a path, in the order it happened; watches are told after the commit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    /// What changed.
    pub path: String,
    /// The permissions the node had or has: who may learn of it.
    pub perms: Perms,
    /// Gone because something above it was removed: only a watch on exactly this path hears of it.
    pub below_removed: bool,
}

/// What a transaction saw and changed so far.
#[derive(Clone, Debug, Default)]
pub struct Overlay {
    seen: BTreeMap<String, Option<u64>>,
    written: BTreeMap<String, Option<Node>>,
    changes: Vec<Change>,
    bytes: usize,
}

impl Overlay {
    /// Whether nothing was changed.
    pub fn is_read_only(&self) -> bool {
        self.written.is_empty()
    }

    /// Paths looked at or changed: what an open transaction costs.
    pub fn cost(&self) -> usize {
        self.seen.len() + self.written.len()
    }

    /// Bytes that were put in it; what was overwritten counts, too.
    pub fn bytes(&self) -> usize {
        self.bytes
    }
}

impl Tree {
    /// A tree with a root that domain 0 owns and everybody may read.
    pub fn new() -> Self {
        let perms = Perms::new(DomId::ZERO, Access::READ);
        let root = Node { value: vec![], perms, children: BTreeSet::new(), generation: 1 };
        Self {
            nodes: BTreeMap::from([("/".to_string(), root)]),
            owned: BTreeMap::from([(DomId::ZERO, 1)]),
            generation: 1,
        }
    }

    /// The committed node at a path.
    pub fn get(&self, path: &str) -> Option<&Node> {
        self.nodes.get(path)
    }

    /// All committed nodes in path order.
    pub fn iter(&self) -> impl Iterator<Item = (&String, &Node)> {
        self.nodes.iter()
    }

    /// Nodes owned by a domain.
    pub fn owned(&self, dom: DomId) -> usize {
        self.owned.get(&dom).copied().unwrap_or(0)
    }

    /// Whether everything the overlay saw is unchanged.
    pub fn holds(&self, overlay: &Overlay) -> bool {
        overlay.seen.iter().all(|(path, seen)| self.nodes.get(path).map(|n| n.generation) == *seen)
    }

    /// How many more nodes `dom` would own after the overlay's commit.
    pub fn growth(&self, overlay: &Overlay, dom: DomId) -> isize {
        let owns = |node: Option<&Node>| isize::from(node.is_some_and(|n| n.perms.owner == dom));
        overlay.written.iter().map(|(p, new)| owns(new.as_ref()) - owns(self.nodes.get(p))).sum()
    }

    /// Makes the overlay's changes the committed state; the caller has checked [`Tree::holds`].
    pub fn commit(&mut self, overlay: Overlay) -> Vec<Change> {
        for (path, node) in overlay.written {
            self.generation += 1;
            let old = match node {
                Some(mut node) => {
                    node.generation = self.generation;
                    *self.owned.entry(node.perms.owner).or_default() += 1;
                    self.nodes.insert(path, node)
                }
                None => self.nodes.remove(&path),
            };
            if let Some(old) = old {
                self.disown(old.perms.owner);
            }
        }
        overlay.changes
    }

    fn disown(&mut self, dom: DomId) {
        if let Some(count) = self.owned.get_mut(&dom) {
            *count -= 1;
            if *count == 0 {
                self.owned.remove(&dom);
            }
        }
    }

    /// Recomputes the invariants; the first that does not hold is named.
    pub fn check(&self) -> Result<(), String> {
        let mut owned: BTreeMap<DomId, usize> = BTreeMap::new();
        for (path, node) in &self.nodes {
            *owned.entry(node.perms.owner).or_default() += 1;
            if let Some(missing) =
                node.children.iter().find(|c| !self.nodes.contains_key(&path::child(path, c)))
            {
                return Err(alloc::format!("{path} lists {missing}, which does not exist"));
            }
            if let Some(parent) = path::parent(path) {
                let listed = self.nodes.get(parent).is_some_and(|p| p.children.contains(path::leaf(path)));
                if !listed {
                    return Err(alloc::format!("{path} is not listed by its parent"));
                }
            }
        }
        if !self.nodes.contains_key("/") {
            return Err("no root".to_string());
        }
        if owned == self.owned { Ok(()) } else { Err("owner counts are wrong".to_string()) }
    }
}

impl Default for Tree {
    fn default() -> Self {
        Self::new()
    }
}

/// Limits that apply to one change.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Nodes a domain may own.
    pub nodes: usize,
    /// Bytes of a value.
    pub value: usize,
    /// Entries of a permission list.
    pub perms: usize,
}

/// A client's view: the committed tree under its overlay.
pub struct View<'a> {
    /// The committed state.
    pub tree: &'a Tree,
    /// What this transaction saw and changed.
    pub overlay: &'a mut Overlay,
    /// Who asks.
    pub who: Subject,
    /// What it may use.
    pub limits: Limits,
}

impl View<'_> {
    fn get(&mut self, path: &str) -> Option<Node> {
        if let Some(written) = self.overlay.written.get(path) {
            return written.clone();
        }
        let node = self.tree.get(path);
        self.overlay.seen.entry(path.to_string()).or_insert(node.map(|n| n.generation));
        node.cloned()
    }

    fn put(&mut self, path: &str, node: Option<Node>) {
        self.overlay.bytes += path.len() + node.as_ref().map_or(0, |node| node.value.len());
        self.overlay.written.insert(path.to_string(), node);
    }

    fn changed(&mut self, path: &str, perms: &Perms, below_removed: bool) {
        self.overlay.changes.push(Change { path: path.to_string(), perms: perms.clone(), below_removed });
    }

    /// The node, if the client may do `wanted` with it. Who may not even know of the nearest existing node above an
    /// absent one gets `EACCES` instead of `ENOENT`.
    pub fn node(&mut self, path: &str, wanted: Access) -> Result<Node, Error> {
        if let Some(node) = self.get(path) {
            return if node.perms.allows(self.who, wanted) { Ok(node) } else { Err(Error::EACCES) };
        }
        let (_, ancestor) = self.nearest(path);
        if ancestor.perms.allows(self.who, wanted) { Err(Error::ENOENT) } else { Err(Error::EACCES) }
    }

    fn nearest(&mut self, path: &str) -> (String, Node) {
        let mut at = path;
        while let Some(up) = path::parent(at) {
            if let Some(node) = self.get(up) {
                return (up.to_string(), node);
            }
            at = up;
        }
        // The root cannot be removed; an overlay or tree without it would break the invariant.
        let perms = Perms::new(DomId::ZERO, Access::NONE);
        ("/".to_string(), Node { value: vec![], perms, children: BTreeSet::new(), generation: 0 })
    }

    /// Sets a value, creating the node and what is missing above it.
    pub fn write(&mut self, path: &str, value: &[u8]) -> Result<(), Error> {
        if value.len() > self.limits.value && !self.who.is_privileged() {
            return Err(Error::ENOSPC);
        }
        let mut node = match self.node(path, Access::WRITE) {
            Ok(node) => node,
            Err(Error::ENOENT) => self.create(path)?,
            Err(error) => return Err(error),
        };
        node.value = value.to_vec();
        self.changed(path, &node.perms, false);
        self.put(path, Some(node));
        Ok(())
    }

    /// Makes sure that a node exists.
    pub fn mkdir(&mut self, path: &str) -> Result<(), Error> {
        match self.node(path, Access::WRITE) {
            Ok(_) => Ok(()),
            Err(Error::ENOENT) => {
                let node = self.create(path)?;
                self.changed(path, &node.perms, false);
                Ok(())
            }
            Err(error) => Err(error),
        }
    }

    /// Creates an absent node and its absent ancestors, empty, with the permissions of the nearest existing one; a
    /// domain other than 0 owns what it creates. The caller has checked that the client may write there.
    fn create(&mut self, path: &str) -> Result<Node, Error> {
        let (top, mut above) = self.nearest(path);
        let mut perms = above.perms.clone();
        if !self.who.is_privileged() {
            perms.owner = self.who.dom;
        }
        let fresh = Node { value: vec![], perms, children: BTreeSet::new(), generation: 0 };
        let below = if top == "/" { &path[1..] } else { &path[top.len() + 1..] };
        let levels = below.split('/').count();
        self.check_nodes(fresh.perms.owner, levels)?;
        let mut at = top;
        for name in below.split('/') {
            above.children.insert(name.into());
            self.put(&at, Some(above));
            at = path::child(&at, name);
            above = fresh.clone();
        }
        self.put(&at, Some(above));
        Ok(fresh)
    }

    fn check_nodes(&self, owner: DomId, more: usize) -> Result<(), Error> {
        if owner == DomId::ZERO || self.who.is_privileged() {
            return Ok(());
        }
        let after = self.tree.owned(owner) as isize + self.tree.growth(self.overlay, owner) + more as isize;
        if after > self.limits.nodes as isize { Err(Error::ENOSPC) } else { Ok(()) }
    }

    /// Removes a node and all below it. An absent node is fine if its parent exists.
    pub fn rm(&mut self, path: &str) -> Result<(), Error> {
        if path == "/" {
            return Err(Error::EINVAL);
        }
        let node = match self.node(path, Access::WRITE) {
            Ok(node) => node,
            Err(Error::ENOENT) => {
                let parent = path::parent(path).unwrap_or("/").to_string();
                return if self.get(&parent).is_some() { Ok(()) } else { Err(Error::ENOENT) };
            }
            Err(error) => return Err(error),
        };
        let parent_path = path::parent(path).unwrap_or("/").to_string();
        if let Some(mut parent) = self.get(&parent_path) {
            parent.children.remove(path::leaf(path));
            self.put(&parent_path, Some(parent));
        }
        self.changed(path, &node.perms, false);
        self.remove_below(path, node);
        Ok(())
    }

    fn remove_below(&mut self, path: &str, node: Node) {
        let mut pending: Vec<(String, Node)> = vec![(path.to_string(), node)];
        while let Some((at, node)) = pending.pop() {
            for name in node.children.iter().rev() {
                let below = path::child(&at, name);
                if let Some(child) = self.get(&below) {
                    self.changed(&below, &child.perms, true);
                    pending.push((below, child));
                }
            }
            self.put(&at, None);
        }
    }

    /// Replaces a permission list. Only the owner may, and only domain 0 may give a node away.
    pub fn set_perms(&mut self, path: &str, perms: Perms) -> Result<(), Error> {
        let mut node = self.node(path, Access::NONE)?;
        if !node.perms.owned_by(self.who) {
            return Err(Error::EACCES);
        }
        if !self.who.is_privileged() {
            if perms.owner != node.perms.owner {
                return Err(Error::EACCES);
            }
            if perms.count() > self.limits.perms {
                return Err(Error::ENOSPC);
            }
        }
        // Both the old and the new list decide who hears of the change: take the new one, as of now.
        node.perms = perms;
        self.changed(path, &node.perms, false);
        self.put(path, Some(node));
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMITS: Limits = Limits { nodes: 4, value: 16, perms: 2 };

    fn run<T>(
        tree: &mut Tree,
        dom: u16,
        f: impl FnOnce(&mut View<'_>) -> Result<T, Error>,
    ) -> Result<T, Error> {
        let mut overlay = Overlay::default();
        let mut view = View { tree, overlay: &mut overlay, who: Subject::new(DomId(dom)), limits: LIMITS };
        let out = f(&mut view);
        if out.is_ok() {
            tree.commit(overlay);
        }
        tree.check().unwrap();
        out
    }

    fn with_home() -> Tree {
        let mut tree = Tree::new();
        run(&mut tree, 0, |v| v.mkdir("/home/3")).unwrap();
        run(&mut tree, 0, |v| v.set_perms("/home/3", Perms::new(DomId(3), Access::NONE))).unwrap();
        tree
    }

    #[test]
    fn a_domain_writes_at_home_only() {
        let mut tree = with_home();
        assert_eq!(run(&mut tree, 3, |v| v.write("/home/3/a/b", b"x")), Ok(()));
        assert_eq!(tree.get("/home/3/a").unwrap().perms.owner, DomId(3));
        assert_eq!(run(&mut tree, 3, |v| v.write("/home/4", b"x")), Err(Error::EACCES));
        assert_eq!(run(&mut tree, 4, |v| v.node("/home/3/a", Access::READ)), Err(Error::EACCES));
        assert_eq!(run(&mut tree, 4, |v| v.node("/home/3/none", Access::READ)), Err(Error::EACCES));
        assert_eq!(run(&mut tree, 3, |v| v.node("/home/3/none", Access::READ)), Err(Error::ENOENT));
    }

    #[test]
    fn rm_takes_the_subtree() {
        let mut tree = with_home();
        run(&mut tree, 3, |v| v.write("/home/3/a/b", b"x")).unwrap();
        run(&mut tree, 3, |v| v.rm("/home/3/a")).unwrap();
        assert!(tree.get("/home/3/a/b").is_none() && tree.get("/home/3").unwrap().children.is_empty());
        assert_eq!(run(&mut tree, 3, |v| v.rm("/home/3/a")), Ok(()));
        assert_eq!(run(&mut tree, 3, |v| v.rm("/home/3/a/b")), Err(Error::ENOENT));
        assert_eq!(run(&mut tree, 0, |v| v.rm("/")), Err(Error::EINVAL));
    }

    #[test]
    fn quotas_hold_for_domains_but_not_for_domain_0() {
        let mut tree = with_home();
        assert_eq!(run(&mut tree, 3, |v| v.write("/home/3/a/b/c/d", b"")), Err(Error::ENOSPC));
        assert_eq!(run(&mut tree, 3, |v| v.write("/home/3/a/b/c", b"")), Ok(()));
        assert_eq!(run(&mut tree, 3, |v| v.write("/home/3/a/b/c", &[0; 17])), Err(Error::ENOSPC));
        let three = Perms::decode(b"n3\0r1\0r2\0").unwrap();
        assert_eq!(run(&mut tree, 3, |v| v.set_perms("/home/3", three.clone())), Err(Error::ENOSPC));
        assert_eq!(run(&mut tree, 0, |v| v.set_perms("/home/3", three.clone())), Ok(()));
        let gift = Perms::new(DomId(5), Access::NONE);
        assert_eq!(run(&mut tree, 3, |v| v.set_perms("/home/3", gift)), Err(Error::EACCES));
    }
}
