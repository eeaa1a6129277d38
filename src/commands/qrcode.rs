//! `.qrcode`: text as a picture that a phone can read.

use std::io::Cursor;

use anyhow::Context as _;
use image::{ImageFormat, Luma};
use qrcode::QrCode;

use crate::context::{Answer, Args, Command, Context, Feature, File, Kind, Param, Reply, Result, refuse};

pub const FEATURE: Feature = Feature {
    name: "qrcode",
    commands: &[Command {
        prefix: &["qrcode"],
        slash: &["qrcode"],
        summary: "Make a QR code",
        usage: "<text>",
        options: &[Param::required("text", "What the code says, at most 1,000 bytes", Kind::Text)],
        run: |ctx, args| Box::pin(qrcode(ctx, args)),
        ..Command::DEFAULT
    }],
    ..Feature::EMPTY
};

/// Denser codes are hard to read from a screen.
const BYTES_MAX: usize = 1_000;

async fn qrcode(_: Context, args: Args) -> Result<Answer> {
    let text = args.maybe_text("text").unwrap_or_default().trim().to_owned();
    // Drawing takes milliseconds of a core.
    let drawn = tokio::task::spawn_blocking(move || draw(&text)).await;
    Ok(drawn.context("draw the code")??.into())
}

fn draw(text: &str) -> Result<Reply> {
    if text.is_empty() {
        return refuse("⚠ No arguments provided! Please provide some text to encode as a QR code");
    }
    if text.len() > BYTES_MAX {
        return refuse(format!("⚠ That text is {} bytes long; the limit is {BYTES_MAX}", text.len()));
    }
    let code = QrCode::new(text).context("encode")?;
    let picture = code.render::<Luma<u8>>().min_dimensions(256, 256).build();
    let mut bytes = Vec::new();
    picture.write_to(&mut Cursor::new(&mut bytes), ImageFormat::Png).context("write the picture")?;
    Ok(Reply { files: vec![File { name: "qrcode.png".into(), bytes }], ..Reply::default() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_picture_comes_back() {
        let file = draw("https://example.org/?q=grüße").unwrap().files.remove(0);
        assert_eq!(&file.bytes[1..4], b"PNG");
    }

    #[test]
    fn nothing_and_too_much_are_refused() {
        assert!(draw("").is_err());
        let error = draw(&"x".repeat(BYTES_MAX + 1)).unwrap_err();
        assert_eq!(error.to_string(), "⚠ That text is 1001 bytes long; the limit is 1000");
    }
}
