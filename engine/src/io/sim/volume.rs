//! Directories and files with their unsynced changes, and what a power cut makes of them.
//!
//! Never injects faults, counts or traces; it is the model that both the live disk and the replay
//! of a trace drive.
//!
//! Invariants:
//! 1. A change of a directory entry is pending until one of its directories is synced. Pending
//!    changes of one name happen in order: a later one implies the earlier ones. Changes of
//!    different names happen independently.
//! 2. A rename happens wholly or not at all.
//! 3. Files and directories follow their number, not their name: content that was synced is found
//!    under whichever name survives.

use std::collections::BTreeMap;
use std::io::Result;
use std::ops::Range;
use std::path::{Component, Path, PathBuf};
use std::sync::Arc;

use super::content::Content;
use super::errno::{EBUSY, EEXIST, EINVAL, EISDIR, ENOENT, ENOTDIR, ENOTEMPTY, failure};
use super::pick::{Digits, Pick};
use super::random::Random;

/// Number of a file or directory. Numbers of removed ones are used again.
pub(super) type NodeId = usize;

const ROOT: NodeId = 0;

type Table = BTreeMap<Arc<str>, NodeId>;

/// How much a sync did.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Synced {
    /// Everything is durable.
    All,
    /// It failed: what was pending is durable or lost, decided by this seed.
    Torn(u64),
    /// Nothing was made durable, though success was reported.
    Nothing,
}

#[derive(Clone)]
enum Kind {
    File(Content),
    Dir { cached: Arc<Table>, stable: Arc<Table> },
    Free,
}

#[derive(Clone)]
struct Node {
    /// Where it is now, or was last.
    path: Arc<Path>,
    /// True when no name leads to it, and none will after a power cut.
    dead: bool,
    kind: Kind,
}

/// A name in a directory.
type Key = (NodeId, Arc<str>);

/// One pending change: a creation has no `from`, a removal no `to`, a rename has both.
#[derive(Clone)]
struct EntryChange {
    node: NodeId,
    /// What was removed or replaced. A directory that goes was empty before.
    gone: Option<NodeId>,
    from: Option<Key>,
    to: Option<Key>,
}

impl EntryChange {
    fn keys(&self) -> impl Iterator<Item = &Key> {
        self.from.iter().chain(&self.to)
    }
}

/// The file system: cached state, durable state, and the pending changes between them.
#[derive(Clone)]
pub(super) struct Volume {
    nodes: Vec<Node>,
    /// Oldest first.
    changes: Vec<EntryChange>,
    /// True once a failed sync of a directory dropped changes that are shown.
    lost: bool,
}

impl Volume {
    pub(super) fn new() -> Volume {
        let path = Arc::from(Path::new("/"));
        Volume {
            nodes: vec![Node { path, dead: false, kind: dir() }],
            changes: Vec::new(),
            lost: false,
        }
    }

    /// Finds a file or directory.
    pub(super) fn lookup(&self, path: &Path) -> Result<NodeId> {
        let mut node = ROOT;
        for component in path.components() {
            if let Some(name) = name_of(component)? {
                match self.table(node)?.get(name) {
                    Some(&next) => node = next,
                    None => return failure(ENOENT),
                }
            }
        }
        Ok(node)
    }

    /// Finds a file.
    pub(super) fn lookup_file(&self, path: &Path) -> Result<NodeId> {
        let node = self.lookup(path)?;
        match self.nodes[node].kind {
            Kind::File(_) => Ok(node),
            _ => failure(EISDIR),
        }
    }

    pub(super) fn path(&self, node: NodeId) -> &Arc<Path> {
        &self.nodes[node].path
    }

    pub(super) fn content(&self, node: NodeId) -> &Content {
        match &self.nodes[node].kind {
            Kind::File(content) => content,
            _ => unreachable!("only files are opened, and they stay while they are open"),
        }
    }

    pub(super) fn content_mut(&mut self, node: NodeId) -> &mut Content {
        match &mut self.nodes[node].kind {
            Kind::File(content) => content,
            _ => unreachable!("only files are opened, and they stay while they are open"),
        }
    }

    pub(super) fn list(&self, dir: &Path) -> Result<Vec<String>> {
        let table = self.table(self.lookup(dir)?)?;
        Ok(table.keys().map(|name| String::from(&**name)).collect())
    }

    /// All files, and all directories but the root, with the number of the files.
    pub(super) fn walk(&self) -> BTreeMap<PathBuf, Option<NodeId>> {
        let mut found = BTreeMap::new();
        let mut dirs = vec![(PathBuf::from("/"), ROOT)];
        while let Some((dir, node)) = dirs.pop() {
            for (name, &child) in self.table(node).into_iter().flatten() {
                let path = dir.join(&**name);
                let file = matches!(self.nodes[child].kind, Kind::File(_)).then_some(child);
                if file.is_none() {
                    dirs.push((path.clone(), child));
                }
                found.insert(path, file);
            }
        }
        found
    }

    /// The number that the next file or directory gets.
    pub(super) fn vacant(&self) -> NodeId {
        let free = self.nodes.iter().position(|node| matches!(node.kind, Kind::Free));
        free.unwrap_or(self.nodes.len())
    }

    pub(super) fn create(&mut self, path: &Path, node: NodeId, is_dir: bool) -> Result<()> {
        let to = self.key(path)?;
        if self.table(to.0)?.contains_key(&to.1) {
            return failure(EEXIST);
        }
        let kind = if is_dir { dir() } else { Kind::File(Content::default()) };
        let new = Node { path: Arc::from(self.path_of(&to)), dead: false, kind };
        match self.nodes.get_mut(node) {
            Some(slot) => *slot = new,
            None => {
                assert_eq!(node, self.nodes.len(), "numbers are given without gaps");
                self.nodes.push(new);
            }
        }
        self.change(EntryChange { node, gone: None, from: None, to: Some(to) });
        Ok(())
    }

    pub(super) fn rename(&mut self, from: &Path, to: &Path) -> Result<()> {
        let node = self.lookup(from)?;
        let (from_key, to_key) = (self.key(from)?, self.key(to)?);
        let gone = self.table(to_key.0)?.get(&to_key.1).copied();
        if let Some(replaced) = gone {
            if replaced == node {
                return Ok(());
            }
            match (&self.nodes[node].kind, &self.nodes[replaced].kind) {
                (Kind::File(_), Kind::Dir { .. }) => return failure(EISDIR),
                (Kind::Dir { .. }, Kind::File(_)) => return failure(ENOTDIR),
                (_, Kind::Dir { cached, .. }) if !cached.is_empty() => return failure(ENOTEMPTY),
                _ => {}
            }
        }
        let is_dir = matches!(self.nodes[node].kind, Kind::Dir { .. });
        if is_dir && self.path_of(&to_key).starts_with(&self.nodes[node].path) {
            return failure(EINVAL);
        }
        let path = self.path_of(&to_key);
        self.change(EntryChange { node, gone, from: Some(from_key), to: Some(to_key) });
        self.set_path(node, &path);
        Ok(())
    }

    pub(super) fn remove(&mut self, path: &Path, is_dir: bool) -> Result<()> {
        let node = self.lookup(path)?;
        if node == ROOT {
            return failure(EBUSY);
        }
        match &self.nodes[node].kind {
            Kind::Dir { .. } if !is_dir => return failure(EISDIR),
            Kind::Dir { cached, .. } if !cached.is_empty() => return failure(ENOTEMPTY),
            Kind::File(_) if is_dir => return failure(ENOTDIR),
            _ => {}
        }
        let from = self.key(path)?;
        self.change(EntryChange { node, gone: Some(node), from: Some(from), to: None });
        Ok(())
    }

    /// Makes a file's content durable, as far as `synced` says.
    pub(super) fn sync_file(&mut self, node: NodeId, synced: Synced) {
        match synced {
            Synced::All => self.content_mut(node).sync(),
            Synced::Torn(seed) => self.content_mut(node).sync_torn(&mut Random::new(seed)),
            Synced::Nothing => {}
        }
    }

    /// Makes the pending changes of a directory durable, as far as `synced` says. Returns files
    /// and directories that died of it.
    pub(super) fn sync_dir(&mut self, dir: NodeId, synced: Synced) -> Vec<NodeId> {
        let mut torn = match synced {
            Synced::All => None,
            Synced::Torn(seed) => Some(Random::new(seed)),
            Synced::Nothing => return Vec::new(),
        };
        let touches = |change: &EntryChange| change.keys().any(|key| key.0 == dir);
        let touched: Vec<bool> = self.changes.iter().map(touches).collect();
        let mut happened = touched.clone();
        if let Some(random) = &mut torn {
            happened.iter_mut().for_each(|happened| *happened &= random.chance(128));
        }
        imply_earlier(&self.changes, &mut happened);
        let mut candidates = Vec::new();
        let mut still_pending = Vec::new();
        let done = happened.into_iter().zip(touched);
        for (change, (happened, touched)) in std::mem::take(&mut self.changes).into_iter().zip(done)
        {
            if happened {
                candidates.extend(self.settle(&change));
                candidates.push(change.node);
            } else if touched {
                self.lost = true;
            } else {
                still_pending.push(change);
            }
        }
        self.changes = still_pending;
        candidates.retain(|&node| self.is_unreachable(node));
        candidates.iter().for_each(|&node| self.nodes[node].dead = true);
        candidates
    }

    /// True for a file that no name leads to, now or after a power cut.
    pub(super) fn is_dead(&self, node: NodeId) -> bool {
        self.nodes[node].dead
    }

    /// Gives the number of a dead file, which nobody has open, to the next one.
    pub(super) fn release(&mut self, node: NodeId) {
        assert!(self.nodes[node].dead, "only what cannot be reached is released");
        self.nodes[node].kind = Kind::Free;
    }

    /// What a power cut leaves, decided change by change.
    pub(super) fn outcome(&self, pick: &mut impl Pick) -> Volume {
        let mut happened: Vec<bool> = self.changes.iter().map(|_| pick.entry()).collect();
        imply_earlier(&self.changes, &mut happened);
        let settle = |node: &Node| Node {
            path: Arc::clone(&node.path),
            dead: node.dead,
            kind: match &node.kind {
                Kind::File(content) if !node.dead => {
                    let image = content.outcome(pick);
                    Kind::File(Content::settled(image, content.allocated()))
                }
                Kind::Dir { stable, .. } => {
                    Kind::Dir { cached: Arc::clone(stable), stable: Arc::clone(stable) }
                }
                _ => Kind::Free,
            },
        };
        let nodes = self.nodes.iter().map(settle).collect();
        let mut left = Volume { nodes, changes: Vec::new(), lost: false };
        for (change, _) in self.changes.iter().zip(happened).filter(|(_, happened)| *happened) {
            left.settle(change);
        }
        if self.lost || !self.changes.is_empty() {
            left.show_stable();
        }
        left
    }

    /// How many outcomes [`Digits`] tells apart; `u64::MAX` for too many.
    pub(super) fn outcomes(&self) -> u64 {
        let mut digits = Digits::new(0);
        let _ = self.outcome(&mut digits);
        digits.outcomes
    }

    /// True when a power cut leaves the file under this name and the range as it is read now.
    pub(super) fn is_durable(&self, path: &Path, range: Range<u64>) -> Result<bool> {
        Ok(self.is_entry_durable(path)? && self.is_content_durable(path, range)?)
    }

    /// The same, whatever becomes of the name.
    pub(super) fn is_content_durable(&self, path: &Path, range: Range<u64>) -> Result<bool> {
        let content = self.content(self.lookup_file(path)?);
        let len = range.end.saturating_sub(range.start) as usize;
        Ok(content.is_durable(range.start, len))
    }

    /// True when a power cut leaves the file or directory under this name.
    pub(super) fn is_entry_durable(&self, path: &Path) -> Result<bool> {
        let mut node = ROOT;
        for component in path.components() {
            let Some(name) = name_of(component)? else {
                continue;
            };
            let Kind::Dir { cached, stable } = &self.nodes[node].kind else {
                return failure(ENOTDIR);
            };
            let Some(&next) = cached.get(name) else {
                return failure(ENOENT);
            };
            let is_key = |key: &Key| key.0 == node && &*key.1 == name;
            if stable.get(name) != Some(&next)
                || self.changes.iter().any(|change| change.keys().any(is_key))
            {
                return Ok(false);
            }
            node = next;
        }
        Ok(true)
    }

    /// Bytes of the disk that files take, unless removed and `closed`.
    pub(super) fn space(&self, closed: impl Fn(NodeId) -> bool) -> u64 {
        let linked = self.walk();
        let linked: Vec<NodeId> = linked.values().copied().flatten().collect();
        let space = |(id, node): (NodeId, &Node)| match &node.kind {
            Kind::File(content) if linked.contains(&id) || !closed(id) => content.space(),
            _ => 0,
        };
        self.nodes.iter().enumerate().map(space).sum()
    }

    fn table(&self, node: NodeId) -> Result<&Table> {
        match &self.nodes[node].kind {
            Kind::Dir { cached, .. } => Ok(cached),
            _ => failure(ENOTDIR),
        }
    }

    fn key(&self, path: &Path) -> Result<Key> {
        let Some(last) = path.components().next_back() else {
            return failure(ENOENT);
        };
        let Some(name) = name_of(last)? else {
            return failure(EBUSY);
        };
        let dir = self.lookup(path.parent().unwrap_or(Path::new("/")))?;
        self.table(dir)?;
        Ok((dir, Arc::from(name)))
    }

    fn path_of(&self, key: &Key) -> PathBuf {
        self.nodes[key.0].path.join(&*key.1)
    }

    /// Applies a change to what the operating system shows, and keeps it as pending.
    fn change(&mut self, change: EntryChange) {
        if let Some((dir, name)) = &change.from {
            self.cached_mut(*dir).remove(name);
        }
        if let Some((dir, name)) = &change.to {
            self.cached_mut(*dir).insert(Arc::clone(name), change.node);
        }
        self.changes.push(change);
    }

    /// Applies a change to what is durable; returns what it replaced.
    fn settle(&mut self, change: &EntryChange) -> Option<NodeId> {
        if let Some((dir, name)) = &change.from {
            let table = self.stable_mut(*dir);
            // After a lost sync the name may lead elsewhere.
            if table.get(name) == Some(&change.node) {
                table.remove(name);
            }
        }
        let (dir, name) = change.to.as_ref()?;
        self.stable_mut(*dir).insert(Arc::clone(name), change.node)
    }

    fn cached_mut(&mut self, dir: NodeId) -> &mut Table {
        match &mut self.nodes[dir].kind {
            Kind::Dir { cached, .. } => Arc::make_mut(cached),
            _ => unreachable!("names are changed in directories"),
        }
    }

    fn stable_mut(&mut self, dir: NodeId) -> &mut Table {
        match &mut self.nodes[dir].kind {
            Kind::Dir { stable, .. } => Arc::make_mut(stable),
            _ => unreachable!("names are changed in directories"),
        }
    }

    /// Brings the cached state in line with the stable one, after a power cut.
    fn show_stable(&mut self) {
        for node in &mut self.nodes {
            if let Kind::Dir { cached, stable } = &mut node.kind {
                *cached = Arc::clone(stable);
            }
        }
        self.set_path(ROOT, Path::new("/"));
    }

    /// Sets the path of a file or directory, and of all that is below.
    fn set_path(&mut self, node: NodeId, path: &Path) {
        let mut rest = vec![(node, path.to_path_buf())];
        while let Some((node, path)) = rest.pop() {
            for (name, &child) in self.table(node).into_iter().flatten() {
                rest.push((child, path.join(&**name)));
            }
            if *self.nodes[node].path != *path {
                self.nodes[node].path = Arc::from(path);
            }
        }
    }

    fn is_unreachable(&self, node: NodeId) -> bool {
        let named = |table: &Table| table.values().any(|&named| named == node);
        let linked = |other: &Node| match &other.kind {
            Kind::Dir { cached, stable } => named(cached) || named(stable),
            _ => false,
        };
        !self.changes.iter().any(|change| change.node == node) && !self.nodes.iter().any(linked)
    }
}

fn dir() -> Kind {
    Kind::Dir { cached: Arc::default(), stable: Arc::default() }
}

fn name_of(component: Component<'_>) -> Result<Option<&str>> {
    match component {
        Component::Normal(name) => name.to_str().map_or_else(|| failure(EINVAL), |n| Ok(Some(n))),
        Component::RootDir | Component::CurDir => Ok(None),
        Component::ParentDir | Component::Prefix(_) => failure(EINVAL),
    }
}

/// Marks the changes that those marked already depend on: earlier ones of the same names, and
/// those that emptied a directory which is gone.
fn imply_earlier(changes: &[EntryChange], happened: &mut [bool]) {
    for later in (1..changes.len()).rev() {
        if !happened[later] {
            continue;
        }
        for earlier in 0..later {
            let needed = |key: &Key| {
                changes[later].gone == Some(key.0) || changes[later].keys().any(|k| k == key)
            };
            happened[earlier] |= changes[earlier].keys().any(needed);
        }
    }
}
