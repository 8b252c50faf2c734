//! What stands below a directory, in memory: where a recording begins, and what a loss of power leaves.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

/// Directories and files by their paths, from the directory that the image is of.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Image {
    /// All directories in it but itself.
    pub dirs: BTreeSet<PathBuf>,
    /// All files, with what they hold.
    pub files: BTreeMap<PathBuf, Vec<u8>>,
}

impl Image {
    /// What stands below `root` now.
    ///
    /// # Errors
    /// Something there cannot be read.
    pub fn of(root: &Path) -> io::Result<Image> {
        let mut image = Image::default();
        image.add(root, Path::new(""))?;
        Ok(image)
    }

    fn add(&mut self, root: &Path, dir: &Path) -> io::Result<()> {
        for entry in fs::read_dir(root.join(dir))? {
            let entry = entry?;
            let path = dir.join(entry.file_name());
            if entry.file_type()?.is_dir() {
                self.dirs.insert(path.clone());
                self.add(root, &path)?;
            } else {
                self.files.insert(path, fs::read(entry.path())?);
            }
        }
        Ok(())
    }

    /// Makes it below `root`, which exists and is empty.
    ///
    /// # Errors
    /// The disk refused.
    pub fn write_to(&self, root: &Path) -> io::Result<()> {
        // A directory stands before what is in it.
        self.dirs.iter().try_for_each(|dir| fs::create_dir(root.join(dir)))?;
        self.files.iter().try_for_each(|(path, bytes)| fs::write(root.join(path), bytes))
    }
}
