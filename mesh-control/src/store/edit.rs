use std::io::{self, Write};
use std::ops::Range;
use std::path::Path;

/// A text with the document at `range` replaced. The comments before the old one stay; those before the new one
/// are about a file that is left behind.
pub(super) fn replaced(whole: &str, range: Range<usize>, document: &str) -> String {
    let old = &whole[range.clone()];
    let comments = &old[..comment_lines(old)];
    let body = &document[comment_lines(document)..];
    let mut text = String::with_capacity(whole.len() + document.len());
    text.push_str(&whole[..range.start]);
    text.push_str(comments);
    push_lines(&mut text, body);
    text.push_str(&whole[range.end..]);
    text
}

/// A text with one more document.
pub(super) fn appended(before: &str, document: &str) -> String {
    let mut text = String::new();
    push_lines(&mut text, before);
    if !before.trim().is_empty() {
        text.push_str("---\n");
    }
    push_lines(&mut text, document);
    text
}

/// A text without the document at `range`; `None` if nothing is left.
pub(super) fn without(whole: &str, range: Range<usize>) -> Option<String> {
    let head = &whole[..range.start];
    let tail = &whole[range.end..];
    // one of the markers around it goes with it
    let text = match tail.find('\n') {
        Some(end) if tail.starts_with("---") => format!("{head}{}", &tail[end + 1..]),
        _ => head
            .trim_end()
            .strip_suffix("---")
            .unwrap_or(head)
            .to_owned(),
    };
    let has_content = |line: &str| {
        let line = line.trim();
        !line.is_empty() && !line.starts_with('#') && line != "---"
    };
    text.lines().any(has_content).then_some(text)
}

/// Length of the comment and blank lines that a document starts with.
fn comment_lines(document: &str) -> usize {
    let is_comment = |line: &&str| line.trim().is_empty() || line.trim_start().starts_with('#');
    document
        .split_inclusive('\n')
        .take_while(is_comment)
        .map(str::len)
        .sum()
}

fn push_lines(text: &mut String, lines: &str) {
    text.push_str(lines);
    if !lines.is_empty() && !lines.ends_with('\n') {
        text.push('\n');
    }
}

/// Writes a file so that readers see the old text or the new one, never a part.
pub(super) fn write(path: &Path, text: &str) -> io::Result<()> {
    let name = path
        .file_name()
        .and_then(|name| name.to_str())
        .unwrap_or_default();
    // a dot and another suffix: the control plane does not read it
    let temporary = path.with_file_name(format!(".{name}.{}.tmp", std::process::id()));
    let written = std::fs::File::create(&temporary).and_then(|mut file| {
        file.write_all(text.as_bytes())?;
        file.sync_all()
    });
    let renamed = written.and_then(|()| std::fs::rename(&temporary, path));
    if renamed.is_err() {
        let _ = std::fs::remove_file(&temporary);
    }
    renamed
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "# file\na: 1\n---\n# second\nb: 2\n---\nc: 3\n";

    fn range_of(part: &str) -> Range<usize> {
        let start = TEXT.find(part).unwrap();
        start..start + part.len()
    }

    #[test]
    fn a_document_is_replaced_where_it_stands() {
        let text = replaced(TEXT, range_of("# second\nb: 2\n"), "# elsewhere\n\nb: 5");
        assert_eq!(text, "# file\na: 1\n---\n# second\nb: 5\n---\nc: 3\n");
    }

    #[test]
    fn a_document_is_removed_with_one_marker() {
        assert_eq!(
            without(TEXT, range_of("# second\nb: 2\n")).unwrap(),
            "# file\na: 1\n---\nc: 3\n"
        );
        assert_eq!(
            without(TEXT, range_of("c: 3\n")).unwrap(),
            "# file\na: 1\n---\n# second\nb: 2\n"
        );
        assert_eq!(
            without(TEXT, range_of("# file\na: 1\n")).unwrap(),
            "# second\nb: 2\n---\nc: 3\n"
        );
        assert_eq!(without("a: 1\n", 0..5), None);
    }

    #[test]
    fn a_document_is_appended() {
        assert_eq!(appended("", "a: 1"), "a: 1\n");
        assert_eq!(appended("a: 1", "b: 1\n"), "a: 1\n---\nb: 1\n");
    }
}
