//! A file opened for serving: its identity, and its bytes as a descriptor, a mapping or a copy.

use std::{fs::File, io, sync::Arc};

/// A file opened for serving. Shared by the responses that send it and kept alive by them.
#[derive(Debug)]
pub struct FileObject {
    bytes: Vec<u8>,
    file: Option<File>,
}

impl FileObject {
    /// Opens what `file` holds for serving. Blocks: for helper threads.
    ///
    /// # Errors
    ///
    /// Whatever the system says.
    pub fn load(mut file: File) -> io::Result<Arc<Self>> {
        let mut bytes = Vec::new();
        io::Read::read_to_end(&mut file, &mut bytes)?;
        Ok(Arc::new(Self { bytes, file: Some(file) }))
    }

    /// An object without a file.
    pub fn from_bytes(bytes: Vec<u8>) -> Arc<Self> {
        Arc::new(Self { bytes, file: None })
    }

    /// Its length in bytes.
    pub fn len(&self) -> u64 {
        self.bytes.len() as u64
    }

    /// Whether it has no bytes.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}
