//! JSON as Envoy writes it in formats (`Json::sanitize`, `JsonFormatterImpl`, `OmitEmptyJsonFormatterImpl`).

use super::{
    FormatContext, Formatter, InvalidFormat, Segment,
    operator::Written,
    parse_segments,
    sink::{Buffer, Sink},
    write_all, write_segment,
};
use crate::metadata::{MetadataStruct, MetadataValue};

/// A `json_format`: what is constant is text already.
#[derive(Clone, Debug)]
pub(super) struct JsonFormat {
    root: Node,
    /// What is not there is left out, and so are objects of which nothing is left; otherwise it is null.
    omits_empty: bool,
}

#[derive(Clone, Debug)]
enum Node {
    Constant(Box<str>),
    Segments(Box<[Segment]>),
    List(Vec<Node>),
    /// Keys as they are written, quotes and colon included; sorted.
    Map(Vec<(Box<str>, Node)>),
}

impl JsonFormat {
    pub(super) fn parse(
        fields: &MetadataStruct,
        omits_empty: bool,
        formatters: &[Formatter],
    ) -> Result<Self, InvalidFormat> {
        let reader = Reader {
            omits_empty,
            formatters,
        };
        let root = reader.map(fields)?;
        Ok(Self { root, omits_empty })
    }

    /// One object and the end of the line.
    pub(super) fn write(&self, cx: &FormatContext<'_>, out: &mut Vec<u8>) {
        if !self.write_node(&self.root, cx, out) {
            out.extend_from_slice(b"{}");
        }
        out.push(b'\n');
    }

    pub(super) fn any(&self, holds: &dyn Fn(&Segment) -> bool) -> bool {
        self.root.any(holds)
    }

    /// False: there is nothing to say, and nothing was written.
    fn write_node(&self, node: &Node, cx: &FormatContext<'_>, out: &mut Vec<u8>) -> bool {
        let start = out.len();
        match node {
            Node::Constant(text) => out.extend_from_slice(text.as_bytes()),
            Node::Segments(segments) => return self.write_value(segments, cx, out),
            Node::List(nodes) => {
                out.push(b'[');
                for node in nodes {
                    let before = out.len();
                    if before > start + 1 {
                        out.push(b',');
                    }
                    if !self.write_node(node, cx, out) {
                        out.truncate(before);
                    }
                }
                out.push(b']');
            }
            Node::Map(fields) => {
                out.push(b'{');
                for (key, node) in fields {
                    let before = out.len();
                    if before > start + 1 {
                        out.push(b',');
                    }
                    out.extend_from_slice(key.as_bytes());
                    if !self.write_node(node, cx, out) {
                        out.truncate(before);
                    }
                }
                if self.omits_empty && out.len() == start + 1 {
                    out.truncate(start);
                    return false;
                }
                out.push(b'}');
            }
        }
        true
    }

    /// One operator alone keeps its type; with anything beside it, it becomes part of a text.
    fn write_value(&self, segments: &[Segment], cx: &FormatContext<'_>, out: &mut Vec<u8>) -> bool {
        let mut value = Buffer(Vec::new());
        let written = match segments {
            [segment] => write_segment(segment, cx, &mut value),
            segments => {
                let missing = if self.omits_empty { "" } else { "-" };
                write_all(segments, missing, cx, &mut value);
                Written::Text
            }
        };
        match written {
            Written::Missing if self.omits_empty => return false,
            Written::Missing => out.extend_from_slice(b"null"),
            Written::Json => out.extend_from_slice(&value.0),
            Written::Text => quoted(&value.0, &mut Appended(out)),
        }
        true
    }
}

impl Node {
    fn any(&self, holds: &dyn Fn(&Segment) -> bool) -> bool {
        match self {
            Self::Constant(_) => false,
            Self::Segments(segments) => segments.iter().any(holds),
            Self::List(nodes) => nodes.iter().any(|node| node.any(holds)),
            Self::Map(fields) => fields.iter().any(|(_, node)| node.any(holds)),
        }
    }
}

/// How values are read.
struct Reader<'a> {
    omits_empty: bool,
    formatters: &'a [Formatter],
}

impl Reader<'_> {
    fn map(&self, fields: &MetadataStruct) -> Result<Node, InvalidFormat> {
        let mut nodes = Vec::new();
        for (key, value) in fields {
            if let Some(node) = self.node(value)? {
                let mut text = constant(|sink| quoted(key.as_bytes(), sink)).into_string();
                text.push(':');
                nodes.push((text.into(), node));
            }
        }
        Ok(Node::Map(nodes))
    }

    /// None: a null that is left out.
    fn node(&self, value: &MetadataValue) -> Result<Option<Node>, InvalidFormat> {
        Ok(Some(match value {
            MetadataValue::Null if self.omits_empty => return Ok(None),
            MetadataValue::String(text) if text.contains('%') => {
                Node::Segments(parse_segments(text, self.formatters)?)
            }
            MetadataValue::List(list) => {
                let mut nodes = Vec::new();
                for value in list {
                    nodes.extend(self.node(value)?);
                }
                Node::List(nodes)
            }
            MetadataValue::Struct(fields) => self.map(fields)?,
            value => Node::Constant(constant(|sink| write(value, sink))),
        }))
    }
}

fn constant(write: impl FnOnce(&mut Buffer)) -> Box<str> {
    let mut buffer = Buffer(Vec::new());
    write(&mut buffer);
    String::from_utf8_lossy(&buffer.0).into()
}

/// Of metadata: a text stands by itself, anything else is JSON (Envoy `MetadataFormatter`).
pub(super) fn write_outermost(value: &MetadataValue, sink: &mut impl Sink) -> Written {
    match value {
        MetadataValue::Null => Written::Missing,
        MetadataValue::String(text) => {
            sink.bytes(text.as_bytes());
            Written::Text
        }
        value => {
            write(value, sink);
            Written::Json
        }
    }
}

fn write(value: &MetadataValue, sink: &mut impl Sink) {
    match value {
        MetadataValue::Null => sink.bytes(b"null"),
        MetadataValue::Bool(value) => sink.display(format_args!("{value}")),
        MetadataValue::Number(value) => number(*value, sink),
        MetadataValue::String(text) => quoted(text.as_bytes(), sink),
        MetadataValue::List(list) => {
            sink.bytes(b"[");
            for (at, value) in list.iter().enumerate() {
                sink.bytes(if at == 0 { b"" } else { b"," });
                write(value, sink);
            }
            sink.bytes(b"]");
        }
        MetadataValue::Struct(fields) => {
            sink.bytes(b"{");
            for (at, (key, value)) in fields.iter().enumerate() {
                sink.bytes(if at == 0 { b"" } else { b"," });
                quoted(key.as_bytes(), sink);
                sink.bytes(b":");
                write(value, sink);
            }
            sink.bytes(b"}");
        }
    }
}

/// The shortest text that reads back as the number: with an exponent of two digits where that is shorter
/// (C++ `std::to_chars`).
fn number(value: f64, sink: &mut impl Sink) {
    if !value.is_finite() {
        // JSON has neither.
        return sink.bytes(b"null");
    }
    let plain = format!("{value}");
    let scientific = format!("{value:e}");
    let (mantissa, exponent) = scientific.split_once('e').unwrap_or((&scientific, "0"));
    let (sign, digits) = match exponent.strip_prefix('-') {
        Some(digits) => ('-', digits),
        None => ('+', exponent),
    };
    let scientific = format!("{mantissa}e{sign}{digits:0>2}");
    let shorter = if scientific.len() < plain.len() {
        scientific
    } else {
        plain
    };
    sink.bytes(shorter.as_bytes());
}

/// A JSON string. Of text that is no UTF-8 each byte that is no ASCII is written as if it was Latin-1, as by Envoy
/// since 1.40.
fn quoted(text: &[u8], sink: &mut impl Sink) {
    let is_utf8 = std::str::from_utf8(text).is_ok();
    sink.bytes(b"\"");
    let mut plain = 0;
    for (at, byte) in text.iter().enumerate() {
        let foreign = *byte >= 0x80 && !is_utf8;
        if *byte >= 0x20 && !matches!(byte, b'"' | b'\\') && !foreign {
            continue;
        }
        sink.bytes(&text[plain..at]);
        plain = at + 1;
        match byte {
            b'"' => sink.bytes(b"\\\""),
            b'\\' => sink.bytes(b"\\\\"),
            b'\n' => sink.bytes(b"\\n"),
            b'\r' => sink.bytes(b"\\r"),
            b'\t' => sink.bytes(b"\\t"),
            0x08 => sink.bytes(b"\\b"),
            0x0c => sink.bytes(b"\\f"),
            byte => sink.display(format_args!("\\u{byte:04x}")),
        }
    }
    sink.bytes(&text[plain..]);
    sink.bytes(b"\"");
}

/// Writes behind what is there.
struct Appended<'v>(&'v mut Vec<u8>);

impl Sink for Appended<'_> {
    fn bytes(&mut self, bytes: &[u8]) {
        self.0.extend_from_slice(bytes);
    }
}

impl std::fmt::Write for Appended<'_> {
    fn write_str(&mut self, s: &str) -> std::fmt::Result {
        self.bytes(s.as_bytes());
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As Envoy 1.40 wrote them.
    #[test]
    fn numbers_are_the_shortest() {
        for (value, expected) in [
            (0.0, "0"),
            (-0.0, "-0"),
            (0.1, "0.1"),
            (1.5, "1.5"),
            (100_000.0, "1e+05"),
            (10_000.0, "10000"),
            (123_456_789_012.0, "123456789012"),
            (1e21, "1e+21"),
            (1e-7, "1e-07"),
            (f64::NAN, "null"),
        ] {
            let mut buffer = Buffer(Vec::new());
            number(value, &mut buffer);
            assert_eq!(String::from_utf8(buffer.0).unwrap(), expected);
        }
    }

    #[test]
    fn texts_are_escaped() {
        for (text, expected) in [
            (&b"a\"b\\c/<"[..], r#""a\"b\\c/<""#),
            (b"\n\r\t\x08\x0c\x01", r#""\n\r\t\b\f\u0001""#),
            ("é\u{7f}".as_bytes(), "\"é\u{7f}\""),
            (b"\xffa", r#""\u00ffa""#),
        ] {
            let mut buffer = Buffer(Vec::new());
            quoted(text, &mut buffer);
            assert_eq!(String::from_utf8(buffer.0).unwrap(), expected);
        }
    }
}
