//! The routes of a router, read from its sources. Nothing lists them at run time, and a list beside them could lack one.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

/// The methods that a route can have, by the words that give it one.
const METHODS: [(&str, &str); 6] = [
    ("get(", "GET"),
    ("post(", "POST"),
    ("put(", "PUT"),
    ("patch(", "PATCH"),
    ("delete(", "DELETE"),
    ("any(", "ANY"),
];
/// What makes routes in ways that are not read here.
const UNREADABLE: [&str; 4] = [".nest(", ".nest_service(", ".route_layer(", "::route("];

/// Every route, with its method, that the sources in a folder and below make: `.route("path", get(…).post(…))`, or
/// `.route_service("path", …)` with the method `ANY`. Panics where a source makes routes in another way, so that none is
/// overlooked. Modules of tests, which end a file, are left out, and so is the macro that makes the API's routes from a list
/// of its own.
pub fn routes_below(folder: &Path) -> BTreeSet<(String, String)> {
    let mut routes = BTreeSet::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            routes.extend(routes_below(&path));
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            let source = fs::read_to_string(&path).unwrap();
            let found = routes_in(&source);
            routes.extend(found.unwrap_or_else(|problem| panic!("{}: {problem}", path.display())));
        }
    }
    routes
}

fn routes_in(source: &str) -> Result<Vec<(String, String)>, String> {
    let source = without_tests(source);
    if let Some(word) = UNREADABLE.iter().find(|word| source.contains(**word)) {
        return Err(format!("`{word}` makes routes that nobody reads"));
    }
    let mut routes = Vec::new();
    for call in source.split(".route_service(").skip(1) {
        let path = path_of(source, call)?;
        routes.push(("ANY".to_owned(), path));
    }
    for call in source.split(".route(").skip(1) {
        let mut depth = 1;
        let end = call.find(|c| {
            depth += i32::from(c == '(') - i32::from(c == ')');
            depth == 0
        });
        let call = &call[..end.ok_or("a call without an end")?];
        if call.trim_start().starts_with('$') {
            continue;
        }
        let path = path_of(source, call)?;
        let (_, handlers) = call.split_once(',').ok_or("a route without a handler")?;
        let before = routes.len();
        for (word, method) in METHODS {
            let is_there = handlers.match_indices(word).any(|(at, _)| {
                !handlers[..at].ends_with(|c: char| c.is_alphanumeric() || c == '_' || c == ':')
            });
            if is_there {
                routes.push((method.to_owned(), path.clone()));
            }
        }
        if routes.len() == before {
            return Err(format!("{path} has no method that is read here"));
        }
    }
    Ok(routes)
}

/// What stands before the module of tests. Other items for tests only are read like all others.
fn without_tests(source: &str) -> &str {
    let is_module = |at: usize| {
        let mut lines = source[at..].lines().map(str::trim);
        let item = lines.find(|line| !line.is_empty() && !line.starts_with('#'));
        item.is_some_and(|item| item.starts_with("mod "))
    };
    let attributes = source.match_indices("#[cfg(test)]").map(|(at, _)| at);
    let end = attributes.into_iter().find(|at| is_module(*at));
    &source[..end.unwrap_or(source.len())]
}

/// The path that a call begins with: a literal, or a constant of the same file.
fn path_of(source: &str, call: &str) -> Result<String, String> {
    let (path, _) = call.split_once(',').ok_or("a route without a handler")?;
    let path = path.trim();
    if let Some(literal) = path.strip_prefix('"') {
        return Ok(literal.trim_end_matches('"').to_owned());
    }
    let definition = format!("{path}: &str = \"");
    let value = source
        .split_once(&definition)
        .and_then(|(_, rest)| rest.split_once('"'));
    value
        .map(|(value, _)| value.to_owned())
        .ok_or_else(|| format!("{path} is no path that is read here"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn routes(source: &str) -> Vec<(String, String)> {
        routes_in(source).unwrap()
    }

    fn route(method: &str, path: &str) -> (String, String) {
        (method.to_owned(), path.to_owned())
    }

    #[test]
    fn routes_are_read_however_they_are_written() {
        let source = "
            const UPLOAD: &str = \"/u/\";
            Router::new()
                .route(\"/a/\", get(a::show).post(a::budget))
                .route(
                    UPLOAD,
                    axum::routing::any(x).layer(y(1)),
                )
                .route_service(\"/s\", service)
                .route($path, on(m, h))
            #[cfg(test)]
            use y;
            #[cfg(test)]
            #[allow(x)]
            mod tests { Router::new().route(\"/t/\", get(x)); }";
        let found = routes(&source.replace("axum::routing::any", "any"));
        let wanted = [
            route("ANY", "/s"),
            route("GET", "/a/"),
            route("POST", "/a/"),
            route("ANY", "/u/"),
        ];
        assert_eq!(found, wanted);
    }

    #[test]
    fn what_cannot_be_read_is_a_problem() {
        for source in [
            "x.nest(\"/a\", b)",
            "x.route(\"/a/\", handlers())",
            "x.route(\"/a/\", axum::routing::get(b))",
            "x.route(ELSEWHERE, get(b))",
            "x.route_service(path(), b)",
        ] {
            assert!(routes_in(source).is_err(), "{source}");
        }
    }
}
