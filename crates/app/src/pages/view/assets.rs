//! The static files: one stylesheet, one script, one sprite of icons and the favicon. They are compiled in, and their
//! addresses carry a digest of their content, so that a browser may keep them for ever.

use std::fmt;

use askama::filters::HtmlSafe;

/// A static file.
#[derive(Clone, Copy, Debug)]
pub struct Asset {
    /// File name without its extension.
    pub stem: &'static str,
    /// Extension, without the dot.
    pub extension: &'static str,
    /// Media type to serve it with.
    pub media_type: &'static str,
    /// Its bytes.
    pub bytes: &'static [u8],
    digest: u64,
}

impl Asset {
    const fn new(
        stem: &'static str,
        extension: &'static str,
        media_type: &'static str,
        bytes: &'static [u8],
    ) -> Self {
        Self {
            stem,
            extension,
            media_type,
            bytes,
            digest: fnv1a(bytes),
        }
    }

    /// The file's name with the digest of its content, `app.0123456789abcdef.css`: the last part of its address.
    pub fn hashed_name(&self) -> String {
        format!("{}.{:016x}.{}", self.stem, self.digest, self.extension)
    }

    /// The address it is served at: `/static/` and [`Asset::hashed_name`].
    pub fn url(&self) -> String {
        format!("/static/{}", self.hashed_name())
    }
}

/// FNV-1a: tells versions of our own files apart; no protection against forgery is asked of it.
const fn fnv1a(bytes: &[u8]) -> u64 {
    let mut hash = 0xcbf2_9ce4_8422_2325_u64;
    let mut at = 0;
    while at < bytes.len() {
        hash = (hash ^ bytes[at] as u64).wrapping_mul(0x0100_0000_01b3);
        at += 1;
    }
    hash
}

static STYLESHEET: Asset = Asset::new(
    "app",
    "css",
    "text/css; charset=utf-8",
    include_bytes!("../../../../../static/app.css"),
);
static SCRIPT: Asset = Asset::new(
    "app",
    "js",
    "text/javascript; charset=utf-8",
    include_bytes!("../../../../../static/app.js"),
);
static ICONS: Asset = Asset::new(
    "icons",
    "svg",
    "image/svg+xml",
    include_bytes!("../../../../../static/icons.svg"),
);
static FAVICON: Asset = Asset::new(
    "favicon",
    "svg",
    "image/svg+xml",
    include_bytes!("../../../../../static/favicon.svg"),
);

static API_DOCS_STYLESHEET: Asset = Asset::new(
    "api-docs",
    "css",
    "text/css; charset=utf-8",
    include_bytes!("../../../../../static/api-docs.css"),
);
static API_DOCS_SCRIPT: Asset = Asset::new(
    "api-docs",
    "js",
    "text/javascript; charset=utf-8",
    include_bytes!("../../../../../static/api-docs.js"),
);

/// Every static file. A route `/static/{name}` answers with the one whose [`Asset::hashed_name`] is `name`, with
/// `Cache-Control: public, max-age=31536000, immutable`, and with 404 otherwise.
pub static ASSETS: [&Asset; 6] = [
    &STYLESHEET,
    &SCRIPT,
    &ICONS,
    &FAVICON,
    &API_DOCS_STYLESHEET,
    &API_DOCS_SCRIPT,
];

/// The address of a static file by its plain name (`app.css`). An unknown name leads nowhere; a test reads every
/// template for such names.
pub fn asset(name: &str) -> String {
    ASSETS
        .iter()
        .find(|asset| {
            name.strip_prefix(asset.stem)
                .and_then(|rest| rest.strip_prefix('.'))
                == Some(asset.extension)
        })
        .map_or_else(|| "/static/".to_owned(), |asset| asset.url())
}

/// One symbol of the sprite, 16 px, hidden from screen readers: a word always stands beside it, or in the label of
/// the button that holds it.
#[derive(Clone, Copy, Debug)]
pub struct Icon(&'static str);

/// The icon of this name; `static/icons.svg` lists them.
pub fn icon(name: &'static str) -> Icon {
    Icon(name)
}

impl fmt::Display for Icon {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            r##"<svg class="icon" width="16" height="16" aria-hidden="true"><use href="/static/{}.{:016x}.{}#{}"/></svg>"##,
            ICONS.stem, ICONS.digest, ICONS.extension, self.0
        )
    }
}

impl HtmlSafe for Icon {}

#[cfg(test)]
mod tests {
    use super::*;

    fn template_files(folder: &std::path::Path, found: &mut Vec<String>) {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                template_files(&path, found);
            } else {
                found.push(std::fs::read_to_string(path).unwrap());
            }
        }
    }

    #[test]
    fn every_icon_and_file_that_a_template_names_exists() {
        let mut templates = Vec::new();
        template_files(
            &std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("templates"),
            &mut templates,
        );
        let sprite = std::str::from_utf8(ICONS.bytes).unwrap();
        let mut seen = 0;
        for template in &templates {
            for (marker, is_icon) in [("icon(\"", true), ("asset(\"", false)] {
                for (at, _) in template.match_indices(marker) {
                    let name = template[at + marker.len()..].split('"').next().unwrap();
                    seen += 1;
                    if is_icon {
                        assert!(sprite.contains(&format!("id=\"{name}\"")), "no icon {name}");
                    } else {
                        assert_ne!(asset(name), "/static/", "no file {name}");
                    }
                }
            }
        }
        assert!(seen > 20, "the markers no longer match the templates");
        for kind in mnemosyne_domain::LibraryType::ALL {
            assert!(sprite.contains(&format!("id=\"{kind}\"")), "no icon of {kind}");
        }
        for status in mnemosyne_domain::JobStatus::ALL {
            let html = super::super::format::job_state(&status).to_string();
            let name = html
                .split("svg#")
                .nth(1)
                .and_then(|rest| rest.split('"').next())
                .unwrap();
            assert!(sprite.contains(&format!("id=\"{name}\"")), "no icon {name}");
        }
    }

    #[test]
    fn no_template_needs_inline_code_or_another_host() {
        let mut templates = Vec::new();
        template_files(
            &std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("templates"),
            &mut templates,
        );
        for template in &templates {
            for forbidden in [
                " style=",
                " onclick=",
                "<style",
                "javascript:",
                "src=\"http",
                "|safe",
            ] {
                assert!(!template.contains(forbidden), "{forbidden} in {template}");
            }
        }
    }
}
