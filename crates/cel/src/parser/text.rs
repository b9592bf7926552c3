//! What quoted literals mean.

const FAILED: &str = "unable to unescape string";

/// The text between quotes, escapes resolved. Bytes have no escapes for code points beyond one byte.
pub(super) fn unquote(quoted: &str, bytes: bool) -> Result<Vec<u8>, &'static str> {
    let text = quoted.replace("\r\n", "\n").replace('\r', "\n");
    let raw = text.starts_with(['r', 'R']);
    let text = text.trim_start_matches(['r', 'R']);
    let width =
        if text.len() >= 6 && (text.starts_with("'''") || text.starts_with("\"\"\"")) { 3 } else { 1 };
    let inner = text.get(width..text.len().saturating_sub(width)).ok_or(FAILED)?;
    if raw || !inner.contains('\\') {
        return Ok(inner.as_bytes().to_vec());
    }
    let mut out = Vec::with_capacity(inner.len());
    let mut rest = inner.chars();
    while let Some(c) = rest.next() {
        if c == '\\' {
            let read = escape(&mut rest, bytes)?;
            push(&mut out, read, bytes)?;
        } else {
            out.extend(c.encode_utf8(&mut [0; 4]).bytes());
        }
    }
    Ok(out)
}

/// The number that an escape sequence stands for.
fn escape(rest: &mut std::str::Chars, bytes: bool) -> Result<u32, &'static str> {
    let kind = rest.next().ok_or("unable to unescape string, found '\\' as last character")?;
    let digits = |rest: &mut std::str::Chars, count: usize| {
        let text: String = rest.by_ref().take(count).collect();
        u32::from_str_radix(&text, 16).map_err(|_| FAILED)
    };
    Ok(match kind {
        'a' => 7,
        'b' => 8,
        'f' => 12,
        'n' => 10,
        'r' => 13,
        't' => 9,
        'v' => 11,
        '\\' | '\'' | '"' | '`' | '?' => kind as u32,
        'x' | 'X' => digits(rest, 2)?,
        'u' if !bytes => digits(rest, 4)?,
        'U' if !bytes => digits(rest, 8)?,
        '0'..='3' => {
            let text: String = [kind].into_iter().chain(rest.by_ref().take(2)).collect();
            u32::from_str_radix(&text, 8).map_err(|_| "unable to unescape octal sequence in string")?
        }
        _ => return Err(FAILED),
    })
}

fn push(out: &mut Vec<u8>, code: u32, bytes: bool) -> Result<(), &'static str> {
    if let (true, Ok(byte)) = (bytes, u8::try_from(code)) {
        out.push(byte);
        return Ok(());
    }
    let c = char::from_u32(code).ok_or("invalid unicode code point")?;
    out.extend(c.encode_utf8(&mut [0; 4]).bytes());
    Ok(())
}
