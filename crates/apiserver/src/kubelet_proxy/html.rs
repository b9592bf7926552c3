//! Finds the links of HTML pages. Only attributes that hold links are changed; every other byte stays as it is.

/// Attributes that hold links, by element.
const LINKS: [(&str, &[&str]); 25] = [
    ("a", &["href"]),
    ("applet", &["codebase"]),
    ("area", &["href"]),
    ("audio", &["src"]),
    ("base", &["href"]),
    ("blockquote", &["cite"]),
    ("body", &["background"]),
    ("button", &["formaction"]),
    ("command", &["icon"]),
    ("del", &["cite"]),
    ("embed", &["src"]),
    ("form", &["action"]),
    ("frame", &["longdesc", "src"]),
    ("head", &["profile"]),
    ("html", &["manifest"]),
    ("iframe", &["longdesc", "src"]),
    ("img", &["longdesc", "src", "usemap"]),
    ("input", &["src", "usemap", "formaction"]),
    ("ins", &["cite"]),
    ("link", &["href"]),
    ("object", &["classid", "codebase", "data", "usemap"]),
    ("q", &["cite"]),
    ("script", &["src"]),
    ("source", &["src"]),
    ("video", &["poster", "src"]),
];

/// Elements whose content is text, whatever it looks like.
const RAW: [&str; 10] =
    ["iframe", "noembed", "noframes", "noscript", "plaintext", "script", "style", "textarea", "title", "xmp"];

/// The page with its links as `link` gives them; `None` leaves one as it is.
pub(super) fn rewrite(page: &str, link: impl Fn(&str) -> Option<String>) -> String {
    let mut out = String::with_capacity(page.len() + page.len() / 8);
    let mut rest = page;
    while let Some(at) = rest.find('<') {
        out.push_str(&rest[..at]);
        rest = &rest[at..];
        let length = match rest.as_bytes().get(1) {
            Some(b'!') if rest.starts_with("<!--") => end_of(rest, 4, "-->"),
            Some(b'!' | b'?') => end_of(rest, 1, ">"),
            Some(b'/') => Tag::read(rest, 2).length,
            Some(first) if first.is_ascii_alphabetic() => {
                let tag = Tag::read(rest, 1);
                tag.write(rest, &link, &mut out);
                rest = &rest[tag.length..];
                let text = raw_text(&tag.name, rest);
                out.push_str(&rest[..text]);
                rest = &rest[text..];
                continue;
            }
            _ => 1,
        };
        out.push_str(&rest[..length]);
        rest = &rest[length..];
    }
    out.push_str(rest);
    out
}

fn end_of(text: &str, from: usize, end: &str) -> usize {
    text.get(from..).and_then(|rest| rest.find(end)).map_or(text.len(), |at| from + at + end.len())
}

/// How much text follows a start tag that is no markup.
fn raw_text(element: &str, rest: &str) -> usize {
    if !RAW.contains(&element) {
        return 0;
    }
    let ends = |at: usize| {
        let after = &rest.as_bytes()[at + 2..];
        let named =
            after.get(..element.len()).is_some_and(|name| name.eq_ignore_ascii_case(element.as_bytes()));
        named && after.get(element.len()).is_none_or(|c| matches!(c, b'/' | b'>') || c.is_ascii_whitespace())
    };
    rest.match_indices("</").map(|(at, _)| at).find(|at| ends(*at)).unwrap_or(rest.len())
}

/// A start or end tag.
struct Tag {
    name: String,
    /// Bytes up to and with its `>`.
    length: usize,
    attributes: Vec<Attribute>,
}

struct Attribute {
    name: String,
    /// Where its value stands, without quotes.
    value: (usize, usize),
    quoted: bool,
}

impl Tag {
    /// Reads a tag whose name begins at `at`.
    fn read(text: &str, at: usize) -> Self {
        let mut reader = Reader { bytes: text.as_bytes(), at };
        let name = reader.take_until(|c| matches!(c, b'/' | b'>') || c.is_ascii_whitespace());
        let name = text[name.0..name.1].to_ascii_lowercase();
        let mut attributes = Vec::new();
        loop {
            reader.take_until(|c| c != b'/' && !c.is_ascii_whitespace());
            match reader.peek() {
                None => break,
                Some(b'>') => {
                    reader.at += 1;
                    break;
                }
                Some(_) => attributes.push(reader.attribute(text)),
            }
        }
        Self { name, length: reader.at, attributes }
    }

    fn write(&self, text: &str, link: &impl Fn(&str) -> Option<String>, out: &mut String) {
        let links =
            LINKS.iter().find(|(element, _)| *element == self.name).map_or(&[][..], |(_, links)| links);
        let mut written = 0;
        for attribute in self.attributes.iter().filter(|a| links.contains(&a.name.as_str())) {
            let (from, to) = attribute.value;
            let Some(rewritten) = link(&text[from..to]) else { continue };
            out.push_str(&text[written..from]);
            let quote = if attribute.quoted { "" } else { "\"" };
            out.extend([quote, &rewritten, quote]);
            written = to;
        }
        out.push_str(&text[written..self.length]);
    }
}

struct Reader<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl Reader<'_> {
    fn peek(&self) -> Option<u8> {
        self.bytes.get(self.at).copied()
    }

    /// Goes to the first byte that is wanted, or to the end; what was passed.
    fn take_until(&mut self, wanted: impl Fn(u8) -> bool) -> (usize, usize) {
        let from = self.at;
        let length = self.bytes[from..].iter().position(|byte| wanted(*byte));
        self.at = length.map_or(self.bytes.len(), |length| from + length);
        (from, self.at)
    }

    fn attribute(&mut self, text: &str) -> Attribute {
        // A name may begin with `=`, so that something is passed in any case.
        let from = self.at;
        self.at += 1;
        self.take_until(|c| matches!(c, b'/' | b'=' | b'>') || c.is_ascii_whitespace());
        let name = text.get(from..self.at).unwrap_or_default().to_ascii_lowercase();
        self.take_until(|c| !c.is_ascii_whitespace());
        if self.peek() != Some(b'=') {
            return Attribute { name, value: (self.at, self.at), quoted: true };
        }
        self.at += 1;
        self.take_until(|c| !c.is_ascii_whitespace());
        let Some(quote @ (b'"' | b'\'')) = self.peek() else {
            let value = self.take_until(|c| c == b'>' || c.is_ascii_whitespace());
            return Attribute { name, value, quoted: false };
        };
        self.at += 1;
        let value = self.take_until(|c| c == quote);
        self.at = self.bytes.len().min(self.at + 1);
        Attribute { name, value, quoted: true }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn links_are_found_where_they_are() {
        let link = |link: &str| link.starts_with('/').then(|| format!("/p{link}"));
        for (page, want) in [
            (r#"<a href="/x">t</a>"#, r#"<a href="/p/x">t</a>"#),
            ("<A HREF='/x' class=b>t</A>", "<A HREF='/p/x' class=b>t</A>"),
            ("<img alt=/y src=/x>", "<img alt=/y src=\"/p/x\">"),
            ("<img src = /x/>", "<img src = \"/p/x/\">"),
            ("<p href=\"/x\"><br/>", "<p href=\"/x\"><br/>"),
            (
                "<form action=\"/a\"\n method=post><input formaction=\"/b\" src=\"c\">",
                "<form action=\"/p/a\"\n method=post><input formaction=\"/p/b\" src=\"c\">",
            ),
            ("<!-- <a href=\"/x\"> --><a href=\"/y\">", "<!-- <a href=\"/x\"> --><a href=\"/p/y\">"),
            ("<!DOCTYPE html><?x <a?>", "<!DOCTYPE html><?x <a?>"),
            (
                "<script src=\"/s.js\">\"<a href='/x'>\"</scripty></SCRIPT ><a href=/z>",
                "<script src=\"/p/s.js\">\"<a href='/x'>\"</scripty></SCRIPT ><a href=\"/p/z\">",
            ),
            ("<title><a href='/x'>", "<title><a href='/x'>"),
            ("1 < 2 <a href='/ü'>ä</a><", "1 < 2 <a href='/p/ü'>ä</a><"),
            ("<a href", "<a href"),
            ("<a href=", "<a href="),
            ("<a href=\"/x", "<a href=\"/p/x"),
            ("<a =href=/x ü=/y href=/z>", "<a =href=/x ü=/y href=\"/p/z\">"),
            ("</a href='>'>x", "</a href='>'>x"),
        ] {
            assert_eq!(rewrite(page, link), want);
        }
    }
}
