//! Files, directories and their names while a recording is played.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::Path;

use crate::disk::Access;
use crate::disk::draw::Draw;
use crate::disk::image::Image;
use crate::disk::power_cut::file::File;
use crate::disk::power_cut::luck::{Luck, Survival};
use crate::disk::recorder::Step;

/// Where a node stands in [`Tree`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Node {
    File(usize),
    Dir(usize),
}

/// Everything that was ever there, whatever its names.
#[derive(Debug)]
pub(super) struct Tree {
    files: Vec<File>,
    /// The first is the root.
    dirs: Vec<Dir>,
    opened: BTreeMap<u64, Opened>,
    /// What was done to names that no sync has made durable, in its order.
    pending: Vec<NameChange>,
    n_changes: u64,
}

/// A file that is open to be written.
#[derive(Debug)]
struct Opened {
    file: usize,
    /// Where the next bytes go; `None`: to the end.
    at: Option<u64>,
}

#[derive(Debug, Default)]
struct Dir {
    /// As whoever is running sees it.
    now: BTreeMap<OsString, Node>,
    durable: Names,
}

/// What names stand for, and which change said so last. `None`: it was removed.
type Names = BTreeMap<OsString, (u64, Option<Node>)>;

#[derive(Debug)]
struct NameChange {
    /// The later, the higher.
    number: u64,
    /// Whose sync makes it durable.
    durable_with: usize,
    /// Directories, names, and what these stand for from now on.
    names: Vec<(usize, OsString, Option<Node>)>,
}

impl Tree {
    /// All of it is durable.
    pub(super) fn of(base: &Image) -> Tree {
        let root = Dir::default();
        let mut tree = Tree {
            files: Vec::new(),
            dirs: vec![root],
            opened: BTreeMap::new(),
            pending: Vec::new(),
            n_changes: 0,
        };
        for dir in &base.dirs {
            tree.create_dir(dir);
        }
        for (path, bytes) in &base.files {
            tree.files.push(File::holding(bytes.clone()));
            let node = Node::File(tree.files.len() - 1);
            tree.change(path, vec![(path, Some(node))]);
        }
        for change in std::mem::take(&mut tree.pending) {
            tree.make_durable(&change);
        }
        tree
    }

    /// Does a step.
    pub(super) fn play(&mut self, step: &Step) {
        match step {
            Step::Open { handle, path, access } => self.open(*handle, path, *access),
            Step::Write { handle, data } => {
                let opened =
                    self.opened.get_mut(handle).unwrap_or_else(|| panic!("BUG: {handle} is not open"));
                let file = &mut self.files[opened.file];
                let at = opened.at.unwrap_or(file.bytes);
                file.write(at, data);
                opened.at = opened.at.map(|at| at + data.len() as u64);
            }
            Step::SetLen { handle, bytes } => self.file_of(*handle).set_len(*bytes),
            Step::Sync { handle } => self.file_of(*handle).sync(),
            Step::CreateDir(path) => self.create_dir(path),
            Step::SyncDir(path) => {
                let dir = self.dir(path);
                let (synced, pending): (Vec<_>, Vec<_>) =
                    std::mem::take(&mut self.pending).into_iter().partition(|it| it.durable_with == dir);
                self.pending = pending;
                synced.iter().for_each(|change| self.make_durable(change));
            }
            Step::Rename { from, to } => {
                let node = self.node(from).unwrap_or_else(|| panic!("BUG: {} has no name", from.display()));
                self.change(to, vec![(from, None), (to, Some(node))]);
            }
            Step::Remove(path) => self.change(path, vec![(path, None)]),
            Step::Mark(_) => {}
        }
    }

    fn open(&mut self, handle: u64, path: &Path, access: Access) {
        let file = match self.node(path) {
            Some(Node::File(file)) => file,
            Some(Node::Dir(_)) => panic!("BUG: a directory was written"),
            None => {
                self.files.push(File::default());
                let file = self.files.len() - 1;
                self.change(path, vec![(path, Some(Node::File(file)))]);
                file
            }
        };
        let at = match access {
            Access::Read | Access::Append | Access::CreateNew => None,
            Access::Replace | Access::Overwrite => Some(0),
        };
        if access == Access::Replace {
            self.files[file].set_len(0);
        }
        self.opened.insert(handle, Opened { file, at });
    }

    fn file_of(&mut self, handle: u64) -> &mut File {
        let opened = self.opened.get(&handle).unwrap_or_else(|| panic!("BUG: {handle} is not open"));
        &mut self.files[opened.file]
    }

    fn create_dir(&mut self, path: &Path) {
        self.dirs.push(Dir::default());
        let node = Node::Dir(self.dirs.len() - 1);
        self.change(path, vec![(path, Some(node))]);
    }

    /// What a path stands for, as whoever is running sees it.
    fn node(&self, path: &Path) -> Option<Node> {
        let mut node = Node::Dir(0);
        for name in path {
            let Node::Dir(dir) = node else { return None };
            node = *self.dirs[dir].now.get(name)?;
        }
        Some(node)
    }

    fn dir(&self, path: &Path) -> usize {
        match self.node(path) {
            Some(Node::Dir(dir)) => dir,
            other => panic!("BUG: {} is no directory: {other:?}", path.display()),
        }
    }

    /// From now on these paths stand for something else, and for good once the directory of `durable_with` was synced.
    fn change(&mut self, durable_with: &Path, paths: Vec<(&Path, Option<Node>)>) {
        let dir_of = |path: &Path| self.dir(path.parent().unwrap_or(path));
        let durable_with = dir_of(durable_with);
        let names: Vec<_> = paths
            .into_iter()
            .map(|(path, node)| (dir_of(path), path.file_name().unwrap_or_default().to_owned(), node))
            .collect();
        for (dir, name, node) in &names {
            match node {
                Some(node) => self.dirs[*dir].now.insert(name.clone(), *node),
                None => self.dirs[*dir].now.remove(name),
            };
        }
        self.n_changes += 1;
        self.pending.push(NameChange { number: self.n_changes, durable_with, names });
    }

    fn make_durable(&mut self, change: &NameChange) {
        for (dir, name, node) in &change.names {
            set(&mut self.dirs[*dir].durable, name, change.number, *node);
        }
    }

    /// What is left if the power is cut now.
    pub(super) fn image(&self, survival: Survival, draw: &mut Draw) -> Image {
        let mut names: Vec<Names> = self.dirs.iter().map(|dir| dir.durable.clone()).collect();
        let luck = Luck::drawn(survival, draw);
        for change in &self.pending {
            if luck.has(draw) {
                for (dir, name, node) in &change.names {
                    set(&mut names[*dir], name, change.number, *node);
                }
            }
        }
        // A file with two names is the same by both.
        let files: Vec<Vec<u8>> = self.files.iter().map(|file| file.image(survival, draw)).collect();
        let mut image = Image::default();
        let mut left = vec![(Path::new("").to_owned(), 0)];
        while let Some((path, dir)) = left.pop() {
            for (name, (_, node)) in &names[dir] {
                let path = path.join(name);
                match node {
                    Some(Node::File(file)) => drop(image.files.insert(path, files[*file].clone())),
                    Some(Node::Dir(dir)) => {
                        image.dirs.insert(path.clone());
                        left.push((path, *dir));
                    }
                    None => {}
                }
            }
        }
        image
    }
}

/// What was said last counts, in whatever order it becomes durable.
fn set(names: &mut Names, name: &OsString, number: u64, node: Option<Node>) {
    let before = names.get(name).map_or(0, |(before, _)| *before);
    if number > before {
        names.insert(name.clone(), (number, node));
    }
}
