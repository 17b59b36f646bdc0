//! Where operators write.

use std::fmt;

/// Written to twice: once to measure, once into a buffer of exactly that size, so that there is one allocation.
pub(super) trait Sink: fmt::Write {
    fn bytes(&mut self, bytes: &[u8]);

    fn display(&mut self, arguments: fmt::Arguments<'_>) {
        // No sink fails.
        let _ = self.write_fmt(arguments);
    }
}

pub(super) struct Length(pub(super) usize);

impl Sink for Length {
    fn bytes(&mut self, bytes: &[u8]) {
        self.0 += bytes.len();
    }
}

impl fmt::Write for Length {
    fn write_str(&mut self, s: &str) -> fmt::Result {
        self.0 += s.len();
        Ok(())
    }
}

pub(super) struct Buffer(pub(super) Vec<u8>);

impl Sink for Buffer {
    fn bytes(&mut self, bytes: &[u8]) {
        self.0.extend_from_slice(bytes);
    }
}

impl fmt::Write for Buffer {
    fn write_str(&mut self, s: &str) -> fmt::Result {
        self.bytes(s.as_bytes());
        Ok(())
    }
}

/// Lets no more than so many bytes through.
pub(super) struct Limited<'s, S> {
    pub(super) sink: &'s mut S,
    pub(super) left: usize,
}

impl<S: Sink> Sink for Limited<'_, S> {
    fn bytes(&mut self, bytes: &[u8]) {
        let taken = bytes.len().min(self.left);
        self.left -= taken;
        self.sink.bytes(&bytes[..taken]);
    }
}

impl<S: Sink> fmt::Write for Limited<'_, S> {
    fn write_str(&mut self, s: &str) -> fmt::Result {
        self.bytes(s.as_bytes());
        Ok(())
    }
}
