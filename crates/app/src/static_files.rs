//! The static files, compiled in. Under the name with a digest a browser may keep them for ever; under the plain name it
//! asks again after a while.

use axum::extract::Path;
use axum::response::{IntoResponse, Response};
use http::{HeaderMap, HeaderValue, StatusCode, header};

pub use crate::pages::view::{ASSETS, Asset, asset};

const FOREVER: &str = "public, max-age=31536000, immutable";
const A_WHILE: &str = "public, max-age=300";

/// One static file.
pub(crate) async fn serve(Path(name): Path<String>, headers: HeaderMap) -> Response {
    let Some((file, caching)) = find(&name) else {
        return StatusCode::NOT_FOUND.into_response();
    };
    // Compression changes the bytes on their way, so the tag promises the same meaning only.
    let tag = format!("W/\"{}\"", file.hashed_name());
    let Ok(tag) = HeaderValue::from_str(&tag) else {
        return StatusCode::INTERNAL_SERVER_ERROR.into_response();
    };
    let is_known = headers
        .get_all(header::IF_NONE_MATCH)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|list| list.split(','))
        .any(|known| known.trim() == "*" || known.trim().as_bytes() == tag.as_bytes());
    let caching = [
        (header::CACHE_CONTROL, HeaderValue::from_static(caching)),
        (header::ETAG, tag),
    ];
    if is_known {
        return (StatusCode::NOT_MODIFIED, caching).into_response();
    }
    (caching, [(header::CONTENT_TYPE, file.media_type)], file.bytes).into_response()
}

fn find(name: &str) -> Option<(&'static Asset, &'static str)> {
    ASSETS.iter().find_map(|file| {
        if file.hashed_name() == name {
            return Some((*file, FOREVER));
        }
        (format!("{}.{}", file.stem, file.extension) == name).then_some((*file, A_WHILE))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_file_is_found_under_both_names_and_no_other() {
        for file in ASSETS {
            assert_eq!(find(&file.hashed_name()).unwrap().1, FOREVER);
            assert_eq!(
                find(&format!("{}.{}", file.stem, file.extension)).unwrap().1,
                A_WHILE
            );
            assert_eq!(asset(&format!("{}.{}", file.stem, file.extension)), file.url());
        }
        for name in ["", "app", "app.0000000000000000.css", "../Cargo.toml", "app.css/"] {
            assert!(find(name).is_none(), "{name}");
        }
    }
}
