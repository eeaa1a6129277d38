//! The files of the page, built into the program.

use std::io::Write;
use std::sync::LazyLock;

use axum::Router;
use axum::extract::Path;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use flate2::Compression;
use flate2::write::GzEncoder;

struct Asset {
    name: &'static str,
    kind: &'static str,
    bytes: &'static [u8],
}

macro_rules! assets {
    ($($name:literal: $kind:expr),* $(,)?) => {
        &[$(Asset { name: $name, kind: $kind, bytes: include_bytes!(concat!("assets/", $name)) }),*]
    };
}

const SCRIPT: &str = "text/javascript; charset=utf-8";

const ASSETS: &[Asset] = assets! {
    "index.html": "text/html; charset=utf-8",
    "chat.css": "text/css; charset=utf-8",
    "dashboard.css": "text/css; charset=utf-8",
    "icon.svg": "image/svg+xml",
    "chat.js": SCRIPT,
    "backstage.js": SCRIPT,
    "client.js": SCRIPT,
    "commands.js": SCRIPT,
    "composer.js": SCRIPT,
    "dom.js": SCRIPT,
    "file.js": SCRIPT,
    "hint.js": SCRIPT,
    "link.js": SCRIPT,
    "markdown.js": SCRIPT,
    "menu.js": SCRIPT,
    "message.js": SCRIPT,
    "modal.js": SCRIPT,
    "sidebar.js": SCRIPT,
    "slash.js": SCRIPT,
    "suggestions.js": SCRIPT,
    "timeline.js": SCRIPT,
    "tour.js": SCRIPT,
    "words.js": SCRIPT,
};

/// The same files compressed, in the same order: through a tunnel to a server the page is there three times sooner.
static COMPRESSED: LazyLock<Vec<Vec<u8>>> = LazyLock::new(|| ASSETS.iter().map(compressed).collect());

fn compressed(asset: &Asset) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
    encoder.write_all(asset.bytes).and_then(|()| encoder.finish()).expect("a vector takes every byte")
}

pub(super) fn routes() -> Router {
    let asset = |Path(name): Path<String>, headers: HeaderMap| async move { serve(&name, &headers) };
    Router::new()
        .route("/", get(|headers: HeaderMap| async move { serve("index.html", &headers) }))
        .route("/favicon.ico", get(|headers: HeaderMap| async move { serve("icon.svg", &headers) }))
        .route("/assets/{name}", get(asset))
}

/// What the dashboard needs of them.
pub(super) fn dashboard_routes() -> Router {
    let asset = |name: &'static str| get(move |headers: HeaderMap| async move { serve(name, &headers) });
    Router::new()
        .route("/assets/dashboard.css", asset("dashboard.css"))
        .route("/assets/icon.svg", asset("icon.svg"))
        .route("/favicon.ico", asset("icon.svg"))
}

fn serve(name: &str, asked: &HeaderMap) -> Response {
    let Some(place) = ASSETS.iter().position(|asset| asset.name == name) else {
        return (StatusCode::NOT_FOUND, "There is nothing here.\n").into_response();
    };
    let encodings =
        asked.get(header::ACCEPT_ENCODING).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let headers = [
        (header::CONTENT_TYPE, ASSETS[place].kind),
        // Asked for anew each time: they come from this machine, and change with the program.
        (header::CACHE_CONTROL, "no-cache"),
        (header::VARY, "accept-encoding"),
    ];
    if encodings.contains("gzip") {
        (headers, [(header::CONTENT_ENCODING, "gzip")], COMPRESSED[place].as_slice()).into_response()
    } else {
        (headers, ASSETS[place].bytes).into_response()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The page is one small download, not an application to be built: what goes over the wire, and what is
    /// written, comments included.
    const SENT_BYTES_MAX: usize = 70_000;
    const WRITTEN_BYTES_MAX: usize = 210_000;

    fn text(asset: &Asset) -> &'static str {
        std::str::from_utf8(asset.bytes).unwrap()
    }

    #[test]
    fn the_page_stays_small() {
        let of_chat = |(asset, _): &(&Asset, &Vec<u8>)| asset.name != "dashboard.css";
        let parts = || ASSETS.iter().zip(COMPRESSED.iter()).filter(of_chat);
        let written: usize = parts().map(|(asset, _)| asset.bytes.len()).sum();
        let sent: usize = parts().map(|(_, packed)| packed.len()).sum();
        assert!(written <= WRITTEN_BYTES_MAX && sent <= SENT_BYTES_MAX, "{written} bytes, {sent} compressed");
    }

    #[test]
    fn every_file_is_served() {
        let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/src/web/assets");
        let mut files: Vec<_> = std::fs::read_dir(folder)
            .unwrap()
            .map(|file| file.unwrap().file_name().into_string().unwrap())
            .collect();
        let mut served: Vec<_> = ASSETS.iter().map(|asset| asset.name.to_owned()).collect();
        files.sort();
        served.sort();
        assert_eq!(files, served);
    }

    #[test]
    fn nothing_comes_from_elsewhere_and_nothing_is_inline() {
        for asset in ASSETS {
            let text = text(asset).replace("http://www.w3.org/2000/svg", "");
            for forbidden in [
                "//cdn",
                "src=\"http",
                "href=\"http",
                "url(http",
                "@import",
                " style=\"",
                "<script>",
                "onclick=",
            ] {
                assert!(!text.contains(forbidden), "{} has {forbidden}", asset.name);
            }
        }
    }

    #[test]
    fn text_never_becomes_html() {
        for asset in ASSETS.iter().filter(|asset| asset.kind == SCRIPT) {
            for sink in [
                "innerHTML",
                "outerHTML",
                "insertAdjacentHTML",
                "document.write",
                "eval(",
                "new Function",
                "cssText",
            ] {
                assert!(!text(asset).contains(sink), "{} uses {sink}", asset.name);
            }
        }
    }
}
