use std::hash::{Hash, Hasher};

use rustc_hash::FxHasher;

/// One YAML document of a file, not yet read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Document<'a> {
    /// Its text, without the `---` line before it.
    pub text: &'a str,
    /// Byte offset of `text` in the file.
    pub offset: usize,
    /// Number of lines before `text` in the file.
    pub lines_before: u32,
    /// Hash of the text, to see changes.
    pub hash: u64,
}

/// Splits a file at its `---` lines. Documents without content (blank, or comments only) are left out.
///
/// A `---` in the first column ends a document even inside block scalars, so lines suffice.
pub fn split(text: &str) -> Vec<Document<'_>> {
    let mut documents = Vec::new();
    let mut start = 0;
    let mut start_line = 0;
    let mut offset = 0;
    for (lines, line) in (0..).zip(text.split_inclusive('\n')) {
        if is_marker(line) {
            push(&mut documents, text, start..offset, start_line);
            // what follows the marker on its line belongs to the document
            let inline = line[3..].trim();
            let keeps_line = !(inline.is_empty() || inline.starts_with('#'));
            start = offset + if keeps_line { 3 } else { line.len() };
            start_line = if keeps_line { lines } else { lines + 1 };
        }
        offset += line.len();
    }
    push(&mut documents, text, start..offset, start_line);
    documents
}

fn is_marker(line: &str) -> bool {
    line.strip_prefix("---")
        .is_some_and(|rest| rest.is_empty() || rest.starts_with([' ', '\t', '\n', '\r']))
}

fn push<'a>(
    to: &mut Vec<Document<'a>>,
    file: &'a str,
    range: std::ops::Range<usize>,
    lines_before: u32,
) {
    let text = &file[range.start.min(range.end)..range.end];
    let blank = |line: &str| {
        let line = line.trim();
        line.is_empty() || line.starts_with('#') || line == "..."
    };
    if text.lines().all(blank) {
        return;
    }
    let mut hasher = FxHasher::default();
    text.hash(&mut hasher);
    to.push(Document {
        text,
        offset: range.start,
        lines_before,
        hash: hasher.finish(),
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn documents_know_their_place() {
        let text = "# head\n---\na: 1\n--- # two\nb: |\n  ---\n---\n# nothing\n---\n\nc: 1";
        let documents = split(text);
        let seen: Vec<_> = documents.iter().map(|d| (d.text, d.lines_before)).collect();
        assert_eq!(seen, [("a: 1\n", 2), ("b: |\n  ---\n", 4), ("\nc: 1", 9)]);
        assert!(
            documents
                .iter()
                .all(|d| text[d.offset..].starts_with(d.text))
        );
    }

    #[test]
    fn equal_texts_have_equal_hashes() {
        let documents = split("a: 1\n---\na: 1\n---\na: 2\n");
        assert_eq!(documents[0].hash, documents[1].hash);
        assert_ne!(documents[0].hash, documents[2].hash);
    }
}
