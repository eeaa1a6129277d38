//! Text that is safe to send: people's words inside Discord's Markdown.

/// A code span around `text`, with as many backticks as it takes to hold the text's own.
/// <https://spec.commonmark.org/0.31.2/#code-spans>
pub fn code(text: &str) -> String {
    let longest = longest_run(text, '`');
    let fence = "`".repeat(longest + 1);
    let pad = if text.starts_with('`') || text.ends_with('`') { " " } else { "" };
    format!("{fence}{pad}{text}{pad}{fence}")
}

/// A code block; `None` if the text holds a fence itself and must travel as a file.
pub fn block(language: &str, text: &str) -> Option<String> {
    (!text.contains("```")).then(|| format!("```{language}\n{text}\n```"))
}

/// Every line behind a `>`.
pub fn quote(text: &str) -> String {
    text.lines().map(|line| format!("> {line}")).collect::<Vec<_>>().join("\n")
}

/// The first `max` characters; an ellipsis takes the place of the last one if something is left out.
pub fn cut(text: &str, max: usize) -> String {
    if text.chars().count() <= max {
        return text.to_owned();
    }
    let kept: String = text.chars().take(max.saturating_sub(1)).collect();
    format!("{}…", kept.trim_end())
}

/// A number with its thousands apart: `4,120`.
pub fn number(n: usize) -> String {
    let digits = n.to_string();
    let mut out = String::new();
    for (place, digit) in digits.chars().enumerate() {
        if place > 0 && (digits.len() - place).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

/// People's words where a code span would be too loud: shown as typed, whatever Markdown they hold.
pub fn plain(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        if matches!(c, '\\' | '*' | '_' | '~' | '`' | '|' | '[' | ']' | '<' | '>') {
            out.push('\\');
        }
        out.push(c);
    }
    out
}

/// What people typed, as it is kept: Unix line ends, and of the control characters only line break and tab.
pub fn clean(text: &str) -> String {
    text.chars().filter(|c| !c.is_control() || matches!(c, '\n' | '\t')).collect()
}

/// A person, as Discord shows them.
pub fn person(id: u64) -> String {
    format!("<@{id}>")
}

/// A time in the reader's own zone: <https://discord.com/developers/docs/reference#message-formatting>
pub fn time(at: crate::clock::Timestamp) -> String {
    format!("<t:{}>", at.seconds())
}

/// A time in full: the day of the week, the date, the time.
pub fn time_in_full(at: crate::clock::Timestamp) -> String {
    format!("<t:{}:F>", at.seconds())
}

/// A time as a distance: "in 5 minutes".
pub fn time_relative(at: crate::clock::Timestamp) -> String {
    format!("<t:{}:R>", at.seconds())
}

fn longest_run(text: &str, of: char) -> usize {
    text.split(|c| c != of).map(|run| run.chars().count()).max().unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_code_span_holds_its_own_backticks() {
        assert_eq!(code("tea"), "`tea`");
        assert_eq!(code("a`b"), "``a`b``");
        assert_eq!(code("`a`"), "`` `a` ``");
    }

    #[test]
    fn cutting_counts_characters_not_bytes() {
        assert_eq!(cut("grüße", 5), "grüße");
        assert_eq!(cut("grüße!", 5), "grüß…");
    }

    #[test]
    fn numbers_are_readable() {
        for (n, text) in [(0, "0"), (999, "999"), (4_120, "4,120"), (1_234_567, "1,234,567")] {
            assert_eq!(number(n), text);
        }
    }

    #[test]
    fn plain_text_is_no_markdown() {
        assert_eq!(plain("[free](x) <@1> a_b"), r"\[free\](x) \<@1\> a\_b");
    }
}
