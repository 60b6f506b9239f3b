//! Lists: `{"count", "next", "previous", "results"}` with `?limit=&offset=`.

use axum::extract::FromRequestParts;
use http::request::Parts;
use mnemosyne_domain::{Page, PageRequest};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::ApiQuery;
use crate::error::{ApiError, ApiResult};
use crate::middleware::request_info::RequestInfo;

/// Rows of a page where the client does not say how many.
const DEFAULT_LIMIT: u32 = 50;

/// A part of a list.
#[derive(Serialize, Deserialize, ToSchema)]
pub(crate) struct List<T> {
    /// Length of the whole list.
    pub(crate) count: u64,
    /// Address of the next part; null on the last one.
    pub(crate) next: Option<String>,
    /// Address of the part before; null on the first one.
    pub(crate) previous: Option<String>,
    /// The rows.
    pub(crate) results: Vec<T>,
}

impl<T> List<T> {
    /// A list that is known to be empty.
    pub(crate) fn empty() -> Self {
        Self {
            count: 0,
            next: None,
            previous: None,
            results: Vec::new(),
        }
    }
}

/// What a client may say about paging.
#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(crate) struct PagingParameters {
    /// How many rows, 1 to 500; 50 where it is absent.
    #[param(value_type = Option<u32>)]
    limit: Option<String>,
    /// How many rows to skip.
    #[param(value_type = Option<u64>)]
    offset: Option<String>,
}

/// Which part of a list is wanted, and what its neighbours are called.
pub(crate) struct Paging {
    pub(crate) request: PageRequest,
    /// The list's address with every other parameter, ready for `limit=…`.
    base: String,
}

impl<S: Send + Sync> FromRequestParts<S> for Paging {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> ApiResult<Self> {
        let info = RequestInfo::from_request_parts(parts, state).await?;
        let ApiQuery(asked) = ApiQuery::<PagingParameters>::from_request_parts(parts, state).await?;
        let limit = match given(asked.limit.as_deref()) {
            None => DEFAULT_LIMIT,
            Some(text) => text.parse::<u64>().ok().filter(|limit| *limit > 0).map_or_else(
                || {
                    Err(ApiError::field(
                        "limit",
                        format!("Choose a number from 1 to {}.", PageRequest::MAX_LIMIT),
                    ))
                },
                |limit| Ok(u32::try_from(limit).unwrap_or(u32::MAX)),
            )?,
        };
        let offset = match given(asked.offset.as_deref()) {
            None => 0,
            // Stores count in signed numbers.
            Some(text) => text
                .parse::<u64>()
                .ok()
                .filter(|offset| i64::try_from(*offset).is_ok())
                .ok_or_else(|| ApiError::field("offset", "Choose a number from 0 on."))?,
        };
        let others: String = parts
            .uri
            .query()
            .unwrap_or_default()
            .split('&')
            .filter(|pair| {
                let name = pair.split('=').next().unwrap_or_default();
                !matches!(name, "" | "limit" | "offset")
            })
            .flat_map(|pair| [pair, "&"])
            .collect();
        Ok(Self {
            request: PageRequest::new(offset, limit),
            base: format!("{}{}?{others}", info.origin(), parts.uri.path()),
        })
    }
}

fn given(text: Option<&str>) -> Option<&str> {
    text.filter(|text| !text.is_empty())
}

impl Paging {
    /// The answer for a part of a list.
    pub(crate) fn list<T, U: From<T>>(&self, page: Page<T>) -> List<U> {
        let PageRequest { offset, limit } = self.request;
        let address = |offset: u64| format!("{}limit={limit}&offset={offset}", self.base);
        let end = offset.saturating_add(u64::from(limit));
        List {
            count: page.total,
            next: (end < page.total).then(|| address(end)),
            previous: (offset > 0).then(|| address(offset.saturating_sub(u64::from(limit)))),
            results: page.rows.into_iter().map(U::from).collect(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::middleware::request_info::Scheme;

    async fn paging(uri: &str) -> ApiResult<Paging> {
        let mut request = http::Request::builder().uri(uri).body(()).unwrap();
        request.extensions_mut().insert(RequestInfo {
            id: "1".into(),
            client: None,
            scheme: Scheme::Https,
            host: "own.example".into(),
            via_proxy: false,
        });
        let mut parts = request.into_parts().0;
        Paging::from_request_parts(&mut parts, &()).await
    }

    fn page(total: u64) -> Page<u8> {
        Page { rows: vec![1], total }
    }

    #[tokio::test]
    async fn neighbours_are_absolute_and_keep_every_other_parameter() {
        let paging = paging("/library/api/items/?library_uid=a%20b&limit=10&offset=15&title=x")
            .await
            .unwrap();
        let list: List<u8> = paging.list(page(40));
        let base = "https://own.example/library/api/items/?library_uid=a%20b&title=x&limit=10&offset=";
        assert_eq!(list.next, Some(format!("{base}25")));
        assert_eq!(list.previous, Some(format!("{base}5")));
    }

    #[tokio::test]
    async fn the_ends_have_no_neighbours_and_pages_are_bounded() {
        let first = paging("/library/api/items/?limit=100000").await.unwrap();
        assert_eq!(
            first.request,
            PageRequest {
                offset: 0,
                limit: 500
            }
        );
        let list: List<u8> = first.list(page(500));
        assert_eq!((list.next, list.previous), (None, None));
        for bad in [
            "limit=0",
            "limit=x",
            "limit=-1",
            "offset=-1",
            "offset=99999999999999999999",
        ] {
            assert!(paging(&format!("/x/?{bad}")).await.is_err(), "{bad}");
        }
        let beyond = paging("/x/?offset=9223372036854775807").await.unwrap();
        assert_eq!(beyond.list::<u8, u8>(page(3)).next, None);
    }
}
