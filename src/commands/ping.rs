//! `.ping`: is anybody there? Never touches the store.

use crate::context::{Answer, Args, Command, Context, Feature, Result};

pub const FEATURE: Feature = Feature {
    name: "ping",
    commands: &[Command {
        prefix: &["ping"],
        slash: &["ping"],
        summary: "Check that I am awake",
        offline: true,
        run: |ctx, args| Box::pin(ping(ctx, args)),
        ..Command::DEFAULT
    }],
    ..Feature::EMPTY
};

async fn ping(ctx: Context, _: Args) -> Result<Answer> {
    Ok(pong(ctx.services.instance.status_page_url.as_deref()).into())
}

fn pong(status_page_url: Option<&str>) -> String {
    match status_page_url {
        Some(url) => format!("🟢 Pong!\nBot status:\n{url}"),
        None => "🟢 Pong!".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_status_page_is_named_when_there_is_one() {
        assert_eq!(pong(None), "🟢 Pong!");
        assert_eq!(pong(Some("https://up.example")), "🟢 Pong!\nBot status:\nhttps://up.example");
    }
}
