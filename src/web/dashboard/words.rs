//! Texts of people and of the bot as HTML: Discord's marks as far as the bot's own cards use them.
//!
//! Everything is escaped. What people named or wrote stands in an element that is isolated from the direction of
//! the text around it, so that a turn to the left ends where the name ends.

use maud::{Markup, PreEscaped, html};

use crate::clock::Timestamp;

/// Who is meant by a mention; ids where nobody knows.
pub type Names<'a> = &'a dyn Fn(u64) -> Option<String>;

/// Text that people chose: a name, a key, a value. It can do nothing but be read.
pub fn theirs(text: &str) -> Markup {
    html! { bdi.theirs { (text) } }
}

/// A time, for people in any zone: UTC, and said so.
pub fn at(time: Timestamp) -> Markup {
    let text = time.to_string();
    let shown = text.replace('T', " ").replace('Z', " UTC");
    html! { time datetime=(text) { (shown) } }
}

/// A card's text: `**bold**`, `` `code` ``, `-# small`, `<@id>` and `<t:seconds>`; backslashes take a mark's
/// meaning away.
pub fn marked(text: &str, names: Names<'_>) -> Markup {
    html! {
        @for line in text.lines() {
            @match line.strip_prefix("-# ") {
                Some(small) => p.small { (inline(small, names)) },
                None if line.trim().is_empty() => {},
                None => p { (inline(line, names)) },
            }
        }
    }
}

/// One line.
fn inline(line: &str, names: Names<'_>) -> Markup {
    let (mut out, mut rest, mut plain, mut bold) = (String::new(), line, String::new(), false);
    let flush = |plain: &mut String, out: &mut String| {
        out.push_str(&html! { (plain) }.into_string());
        plain.clear();
    };
    while let Some(first) = rest.chars().next() {
        if let Some(after) = rest.strip_prefix("**") {
            flush(&mut plain, &mut out);
            out.push_str(if bold { "</strong>" } else { "<strong>" });
            bold = !bold;
            rest = after;
        } else if let Some((code, after)) = code(rest) {
            flush(&mut plain, &mut out);
            out.push_str(&html! { code { (theirs(code)) } }.into_string());
            rest = after;
        } else if let Some((inner, after)) = angle(rest) {
            flush(&mut plain, &mut out);
            out.push_str(&special(inner, names).into_string());
            rest = after;
        } else {
            let marks = first == '\\' && rest[1..].starts_with(|c: char| c.is_ascii_punctuation());
            let shown = if marks { rest[1..].chars().next().unwrap_or(first) } else { first };
            plain.push(shown);
            rest = &rest[usize::from(marks) + shown.len_utf8()..];
        }
    }
    flush(&mut plain, &mut out);
    if bold {
        out.push_str("</strong>");
    }
    PreEscaped(out)
}

/// What stands between as many backticks on both sides.
fn code(text: &str) -> Option<(&str, &str)> {
    let ticks = text.len() - text.trim_start_matches('`').len();
    let fence = text.get(..ticks).filter(|fence| !fence.is_empty())?;
    let inner = &text[ticks..];
    let end = inner.find(fence)?;
    let code = &inner[..end];
    let trimmed = code.strip_prefix(' ').and_then(|code| code.strip_suffix(' ')).unwrap_or(code);
    Some((trimmed, &inner[end + ticks..]))
}

/// `<…>` that may be a mention or a time.
fn angle(text: &str) -> Option<(&str, &str)> {
    let (inner, after) = text.strip_prefix('<')?.split_once('>')?;
    let known = inner.starts_with("@") || inner.starts_with("t:") || inner.starts_with('#');
    let digits = inner.trim_start_matches(['@', '!', '&', '#', 't', ':']);
    let plain =
        !digits.is_empty() && digits.chars().all(|c| c.is_ascii_alphanumeric() || c == ':' || c == '-');
    (known && plain).then_some((inner, after))
}

fn special(inner: &str, names: Names<'_>) -> Markup {
    if let Some(time) = inner.strip_prefix("t:") {
        let seconds = time.split(':').next().and_then(|seconds| seconds.parse().ok());
        return html! { @if let Some(seconds) = seconds { (at(Timestamp::from_seconds(seconds))) } };
    }
    let id = inner.trim_start_matches(['@', '!']).parse().ok();
    match id {
        Some(id) if inner.starts_with('@') => person(id, names),
        _ => html! { span.mention { (inner) } },
    }
}

/// A person by name, or by id where the gateway has not told the name.
pub fn person(id: u64, names: Names<'_>) -> Markup {
    match names(id) {
        Some(name) => html! { span.mention title=(id) { "@" (theirs(&name)) } },
        None => html! { span.mention { "person " (id) } },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(text: &str) -> String {
        let names = |id| (id == 5).then(|| "<ann>".to_owned());
        marked(text, &names).into_string()
    }

    #[test]
    fn cards_keep_their_looks_and_nothing_else() {
        assert_eq!(shown("**a** b"), "<p><strong>a</strong> b</p>");
        assert_eq!(shown("`` a`b ``"), "<p><code><bdi class=\"theirs\">a`b</bdi></code></p>");
        assert_eq!(shown("-# 3 seconds old"), "<p class=\"small\">3 seconds old</p>");
        assert!(shown("<@5> and <@6>").contains("@<bdi class=\"theirs\">&lt;ann&gt;</bdi></span> and"));
        assert!(shown("<@5> and <@6>").contains("person 6"));
        assert!(shown("<t:60:R>").contains("1970-01-01 00:01:00 UTC"));
        assert_eq!(shown("\\*\\*no\\*\\* <b>"), "<p>**no** &lt;b&gt;</p>");
        assert_eq!(shown("**open"), "<p><strong>open</strong></p>");
        assert_eq!(shown("a\\"), "<p>a\\</p>");
    }

    #[test]
    fn hostile_text_stays_text() {
        for hostile in
            ["<script>alert(1)</script>", "\" onload=\"x", "<@<script>>", "<t:<b>>", "`<i>`", "&lt;"]
        {
            let shown = shown(hostile);
            assert!(
                !shown.contains("<script") && !shown.contains("<b>") && !shown.contains("<i>"),
                "{shown}"
            );
        }
        for piece in ["**", "`", "<@", "\\", "``` ", "é\\é"] {
            assert!(!shown(&piece.repeat(1_000)).is_empty());
        }
    }
}
