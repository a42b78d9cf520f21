//! A program's modules, compiled and linked: the pages of guest memory that differ from the bare guest.

use std::collections::BTreeMap;

use super::failure::Failure;

/// Pages are compared and copied in these units, the machine's own.
const PAGE: usize = 4096;
const ZERO: [u8; PAGE] = [0; PAGE];

/// The files of a program.
#[derive(Clone, Debug, Default)]
pub struct Modules {
    /// Path (`index.mjs`, `lib/util.mjs`, `data.json`; relative, without `.` or `..`) → text.
    pub files: BTreeMap<String, String>,
    /// The file whose exports are the program's.
    pub entry: String,
}

impl Modules {
    /// A program of one file.
    pub fn single(source: impl Into<String>) -> Self {
        let entry = "index.mjs".to_owned();
        Self { files: BTreeMap::from([(entry.clone(), source.into())]), entry }
    }

    pub(super) fn check(&self) -> Result<(), Failure> {
        if !self.files.contains_key(&self.entry) {
            let importer = "the program".to_owned();
            return Err(Failure::UnresolvedImport { specifier: self.entry.clone(), importer, builtin: false });
        }
        match self.files.iter().find(|(path, text)| path.contains('\0') || text.contains('\0')) {
            Some((path, _)) => Err(Failure::SyntaxError {
                file: path.clone(),
                line: 1,
                column: 1,
                message: "the file contains a zero byte".to_owned(),
            }),
            None => Ok(()),
        }
    }
}

/// Compiled modules, ready to be laid over a fresh instance. Nothing of them has run.
pub struct Image {
    /// Byte offset → the page there.
    pages: Vec<(usize, Box<[u8]>)>,
    /// Bytes of memory the instance had.
    pub(super) memory_bytes: usize,
    exports: Vec<String>,
}

impl std::fmt::Debug for Image {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Image of {} pages", self.pages.len())
    }
}

impl Image {
    pub(super) fn between(bare: &[u8], linked: &[u8], exports: Vec<String>) -> Self {
        let mut pages = Vec::new();
        for (index, page) in linked.chunks_exact(PAGE).enumerate() {
            let at = index * PAGE;
            if page != bare.get(at..at + PAGE).unwrap_or(&ZERO) {
                pages.push((at, page.into()));
            }
        }
        Self { pages, memory_bytes: linked.len(), exports }
    }

    /// What the entry exports.
    pub fn exports(&self) -> &[String] {
        &self.exports
    }

    /// Whether the entry exports what a call would run: `default`, else `handler`.
    pub fn has_handler(&self) -> bool {
        self.exports.iter().any(|name| name == "default" || name == "handler")
    }

    /// Bytes this image keeps in memory.
    pub fn size(&self) -> usize {
        self.pages.len() * PAGE
    }

    pub(super) fn lay_over(&self, memory: &mut [u8]) {
        for (at, page) in &self.pages {
            if let Some(place) = memory.get_mut(*at..*at + PAGE) {
                place.copy_from_slice(page);
            }
        }
    }
}
