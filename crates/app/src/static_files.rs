//! The static files, compiled in. Under the name with a digest a browser may keep them for ever; under the plain name it
//! asks again after a while. A web server in front may hand them out by itself, from a folder that [`install`] fills.

use std::collections::BTreeSet;
use std::io;
use std::path::Path as FilePath;

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

/// What became of a folder.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Installed {
    /// How many files this version has.
    pub files: usize,
    /// How many of them were not there.
    pub new: usize,
    /// How many of older versions went.
    pub removed: usize,
}

/// The names of the files of this version and, after an empty line, of the one before it.
const GENERATIONS: &str = ".generations";

/// Fills a folder with the files, under both of their names. Those of the version that was here before stay: a page that a
/// visitor has open goes on. May be repeated.
pub fn install(folder: &FilePath) -> io::Result<Installed> {
    let files: Vec<(String, &[u8])> = ASSETS
        .iter()
        .flat_map(|file| {
            let plain = format!("{}.{}", file.stem, file.extension);
            [(file.hashed_name(), file.bytes), (plain, file.bytes)]
        })
        .collect();
    install_files(folder, &files)
}

fn install_files(folder: &FilePath, files: &[(String, &[u8])]) -> io::Result<Installed> {
    std::fs::create_dir_all(folder)?;
    let names: BTreeSet<&str> = files.iter().map(|(name, _)| name.as_str()).collect();
    let known = match std::fs::read_to_string(folder.join(GENERATIONS)) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => String::new(),
        Err(error) => return Err(error),
    };
    let (last, before_last) = known.split_once("\n\n").unwrap_or((&known, ""));
    let last: BTreeSet<&str> = last.lines().collect();
    let before_last: BTreeSet<&str> = before_last.lines().collect();
    // The same version again keeps what it kept.
    let kept = if last == names { &before_last } else { &last };
    let mut new = 0;
    for (name, bytes) in files {
        let path = folder.join(name);
        if std::fs::read(&path).is_ok_and(|there| there == *bytes) {
            continue;
        }
        write_whole(folder, name, bytes)?;
        new += 1;
    }
    let mut removed = 0;
    for name in last.union(&before_last) {
        if names.contains(name) || kept.contains(name) {
            continue;
        }
        match std::fs::remove_file(folder.join(name)) {
            Ok(()) => removed += 1,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(error),
        }
    }
    let list = |names: &BTreeSet<&str>| names.iter().copied().collect::<Vec<_>>().join("\n");
    let generations = format!("{}\n\n{}", list(&names), list(kept));
    write_whole(folder, GENERATIONS, generations.as_bytes())?;
    Ok(Installed {
        files: files.len(),
        new,
        removed,
    })
}

/// Whoever reads the file meanwhile sees the old one or the new one.
fn write_whole(folder: &FilePath, name: &str, bytes: &[u8]) -> io::Result<()> {
    let part = folder.join(format!(".{name}.part"));
    std::fs::write(&part, bytes)?;
    std::fs::rename(part, folder.join(name))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(folder: &FilePath) -> Vec<String> {
        let mut names: Vec<String> = std::fs::read_dir(folder)
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .filter(|name| name != GENERATIONS)
            .collect();
        names.sort();
        names
    }

    #[test]
    fn a_folder_holds_this_version_and_the_one_before() {
        let folder = tempfile::tempdir().unwrap();
        let version = |number: u8| {
            [
                (format!("app.{number}.css"), b"x".as_slice()),
                ("app.css".to_owned(), b"y"),
            ]
        };
        let installed = |number| install_files(folder.path(), &version(number)).unwrap();
        assert_eq!(
            installed(1),
            Installed {
                files: 2,
                new: 2,
                removed: 0
            }
        );
        assert_eq!(
            installed(1),
            Installed {
                files: 2,
                new: 0,
                removed: 0
            }
        );
        assert_eq!(installed(2).removed, 0);
        // However often the stack comes up.
        installed(2);
        installed(2);
        assert_eq!(names(folder.path()), ["app.1.css", "app.2.css", "app.css"]);
        assert_eq!(
            installed(3),
            Installed {
                files: 2,
                new: 1,
                removed: 1
            }
        );
        assert_eq!(names(folder.path()), ["app.2.css", "app.3.css", "app.css"]);
        // A file that was damaged is whole again.
        std::fs::write(folder.path().join("app.3.css"), "half").unwrap();
        assert_eq!(installed(3).new, 1);
    }

    #[test]
    fn every_file_is_installed_under_both_names() {
        let folder = tempfile::tempdir().unwrap();
        let installed = install(folder.path()).unwrap();
        assert_eq!(installed.files, 2 * ASSETS.len());
        for file in ASSETS {
            assert_eq!(
                std::fs::read(folder.path().join(file.hashed_name())).unwrap(),
                file.bytes
            );
        }
    }

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
