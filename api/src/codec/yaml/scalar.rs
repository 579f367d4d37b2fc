//! Text as a YAML scalar: which style it gets, and how it is written in that style, as Go's `yaml.v2` does.

use super::resolve::is_text;

/// The column after which a line is folded at the next space.
const WIDTH: usize = 80;

/// How a scalar is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Style {
    Plain,
    Single,
    Double,
    Literal,
}

/// What stands in a text that decides on its style.
#[derive(Default)]
struct Marks {
    /// Starts or continues in a way that means something in YAML.
    indicators: bool,
    breaks: bool,
    /// A line break of YAML 1.1 that is none in 1.2.
    old_break: bool,
    /// Control characters, tabs and the like.
    special: bool,
    space_at_an_end: bool,
    space_last: bool,
    space_after_break: bool,
    space_before_break: bool,
}

fn is_break(c: char) -> bool {
    matches!(c, '\r' | '\n' | '\u{85}' | '\u{2028}' | '\u{2029}')
}

fn is_blank(c: Option<&char>) -> bool {
    c.is_none_or(|c| matches!(c, ' ' | '\t'))
}

fn is_printable(c: char) -> bool {
    matches!(c, '\n' | ' '..='~' | '\u{a0}'..='\u{d7ff}' | '\u{e000}'..='\u{fffd}') && c != '\u{feff}'
}

fn is_indicator(at: usize, c: char, before: Option<char>, blank_follows: bool) -> bool {
    match c {
        ',' | '[' | ']' | '{' | '}' | '&' | '*' | '!' | '|' | '>' | '\'' | '"' | '%' | '@' | '`' => at == 0,
        '?' | '-' => at == 0 && blank_follows,
        ':' => blank_follows,
        '#' => before.is_none_or(|c| c == ' ' || c == '\t' || is_break(c)),
        _ => false,
    }
}

fn marks(text: &str) -> Marks {
    let chars: Vec<char> = text.chars().collect();
    let mut marks = Marks {
        indicators: text.starts_with("---") || text.starts_with("..."),
        ..Marks::default()
    };
    for (at, &c) in chars.iter().enumerate() {
        let before = at.checked_sub(1).map(|at| chars[at]);
        let last = at + 1 == chars.len();
        marks.indicators |= is_indicator(at, c, before, is_blank(chars.get(at + 1)));
        marks.special |= !is_printable(c);
        if c == ' ' {
            marks.space_last |= last;
            marks.space_at_an_end |= last || at == 0;
            marks.space_after_break |= before.is_some_and(is_break);
        } else if is_break(c) {
            marks.breaks = true;
            marks.old_break |= c != '\n';
            marks.space_before_break |= before == Some(' ');
        }
    }
    marks
}

fn style(text: &str, key: bool) -> Style {
    let marks = marks(text);
    // Go writes a block around an old break too, which readers of YAML 1.2 take for another text.
    let in_lines = !marks.space_last && !marks.space_before_break && !marks.old_break;
    let block_allowed = !key && in_lines && !marks.special;
    let single_allowed = !marks.space_after_break && !marks.space_before_break && !marks.special;
    let plain_allowed = single_allowed && !marks.breaks && !marks.space_at_an_end && !marks.indicators;
    if text.contains('\n') {
        return if block_allowed {
            Style::Literal
        } else {
            Style::Double
        };
    }
    match (is_text(text), plain_allowed, single_allowed) {
        (false, ..) | (_, _, false) => Style::Double,
        (true, true, _) => Style::Plain,
        (true, false, true) => Style::Single,
    }
}

/// Writes text at the end of `out`, whose last line has `column` characters; lines that follow are indented by `indent`.
/// A key is never folded.
pub(super) fn write(out: &mut String, text: &str, indent: usize, key: bool) {
    match style(text, key) {
        Style::Plain => fold(out, text, indent, key, |out, c| out.push(c)),
        Style::Single => {
            out.push('\'');
            fold(out, text, indent, key, |out, c| {
                if c == '\'' {
                    out.push('\'');
                }
                out.push(c);
            });
            out.push('\'');
        }
        Style::Double => {
            out.push('"');
            fold(out, text, indent, key, escape);
            out.push('"');
        }
        Style::Literal => literal(out, text, indent),
    }
}

fn column(out: &str) -> usize {
    let line = out.rfind('\n').map_or(out, |at| &out[at + 1..]);
    line.chars().count()
}

fn fold(out: &mut String, text: &str, indent: usize, key: bool, write: impl Fn(&mut String, char)) {
    let mut column = column(out);
    let mut chars = text.chars().peekable();
    let mut before = None;
    while let Some(c) = chars.next() {
        let inside = before.is_some_and(|c| c != ' ') && chars.peek().is_some_and(|&c| c != ' ');
        if c == ' ' && inside && !key && column > WIDTH {
            new_line(out, indent);
            column = indent;
        } else {
            let length = out.len();
            write(out, c);
            column += out[length..].chars().count();
        }
        before = Some(c);
    }
}

fn new_line(out: &mut String, indent: usize) {
    out.push('\n');
    out.extend(std::iter::repeat_n(' ', indent));
}

fn escape(out: &mut String, c: char) {
    let short = match c {
        '\0' => '0',
        '\u{7}' => 'a',
        '\u{8}' => 'b',
        '\t' => 't',
        '\n' => 'n',
        '\u{b}' => 'v',
        '\u{c}' => 'f',
        '\r' => 'r',
        '\u{1b}' => 'e',
        '"' => '"',
        '\\' => '\\',
        '\u{85}' => 'N',
        '\u{2028}' => 'L',
        '\u{2029}' => 'P',
        c if is_printable(c) => return out.push(c),
        c => {
            let code = u32::from(c);
            return out.push_str(&match code {
                0..=0xff => format!("\\x{code:02X}"),
                0x100..=0xffff => format!("\\u{code:04X}"),
                _ => format!("\\U{code:08X}"),
            });
        }
    };
    out.push('\\');
    out.push(short);
}

/// Lines as they are, with a hint when the first starts with a space or the text does not end in one line break.
fn literal(out: &mut String, text: &str, indent: usize) {
    out.push('|');
    if text.starts_with(|c| c == ' ' || is_break(c)) {
        out.push('2');
    }
    let mut last = text.chars().rev();
    let ends: (bool, bool) = (
        last.next().is_some_and(is_break),
        last.next().is_none_or(is_break),
    );
    match ends {
        (false, _) => out.push('-'),
        (true, true) => out.push('+'),
        (true, false) => {}
    }
    for line in text.strip_suffix('\n').unwrap_or(text).split('\n') {
        out.push('\n');
        if !line.is_empty() {
            out.extend(std::iter::repeat_n(' ', indent));
            out.push_str(line);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(text: &str) -> String {
        let mut out = String::new();
        write(&mut out, text, 2, false);
        out
    }

    #[test]
    fn styles_are_those_of_go() {
        for (text, want) in [
            ("plain text", "plain text"),
            ("yes", "\"yes\""),
            ("5", "\"5\""),
            ("a: b", "'a: b'"),
            ("a:b", "a:b"),
            ("*", "'*'"),
            ("it's", "it's"),
            ("'it's", "'''it''s'"),
            ("- a", "'- a'"),
            ("-a", "-a"),
            (" a", "' a'"),
            ("a #b", "'a #b'"),
            ("a#b", "a#b"),
            ("tab\there", "\"tab\\there\""),
            ("bell\u{7}", "\"bell\\a\""),
            ("one\ntwo", "|-\n  one\n  two"),
            ("one\n\ntwo\n", "|\n  one\n\n  two"),
            ("one\n\n", "|+\n  one\n"),
            (" one\ntwo", "|2-\n   one\n  two"),
            ("one \ntwo", "\"one \\ntwo\""),
            ("ends \n\u{9}", "\"ends \\n\\t\""),
            ("one\ntwo\u{2029}", "\"one\\ntwo\\P\""),
        ] {
            assert_eq!(written(text), want, "{text:?}");
        }
    }

    #[test]
    fn long_lines_fold_at_a_space() {
        let text = format!("{} {} {}", "a".repeat(70), "b".repeat(20), "c".repeat(5));
        let want = format!("{} {}\n  {}", "a".repeat(70), "b".repeat(20), "c".repeat(5));
        assert_eq!(written(&text), want);
        let mut key = String::new();
        write(&mut key, &text, 2, true);
        assert_eq!(key, text);
    }
}
