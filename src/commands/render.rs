//! `.render test`: a sample of all the Markdown that Discord shows, to see what a client makes of it.

use crate::clock::Timestamp;
use crate::context::{Command, Feature};
use crate::markdown::{block, code, time, time_relative};

pub const FEATURE: Feature = Feature {
    name: "render",
    commands: &[Command {
        prefix: &["render test"],
        summary: "Show a sample of all Markdown",
        offline: true,
        run: |ctx, _| Box::pin(async move { Ok(sample(ctx.cause.at).into()) }),
        ..Command::DEFAULT
    }],
    ..Feature::EMPTY
};

fn sample(now: Timestamp) -> String {
    let lines = [
        "# Heading 1\n## Heading 2\n### Heading 3\n-# Small".to_owned(),
        "**bold** *italic* __underlined__ ~~struck~~ ||spoiler|| ***all*** of it".to_owned(),
        "- a list\n  - inside it\n1. a number\n2. another".to_owned(),
        "> a quote\n> of two lines".to_owned(),
        format!("{} {} {}", code("code"), code("with ` inside"), "[a link](<https://discord.com>)"),
        block("rust", "fn main() {}").unwrap_or_default(),
        block("diff", "- before\n+ after").unwrap_or_default(),
        format!("{} {}", time(now), time_relative(now)),
    ];
    lines.join("\n")
}
