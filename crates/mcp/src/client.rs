//! Who a request comes from, for what is written down of it.

use std::net::SocketAddr;
use std::sync::Arc;

use axum::extract::{ConnectInfo, Request, State};
use axum::middleware::Next;
use axum::response::Response;
use mnemosyne_config::{IpNetwork, real_client};
use mnemosyne_services::origin;

const FORWARDED_FOR: &str = "x-forwarded-for";

/// Does what follows on behalf of the real client's address.
pub(crate) async fn note(State(trusted): State<Arc<[IpNetwork]>>, request: Request, next: Next) -> Response {
    let peer = request.extensions().get::<ConnectInfo<SocketAddr>>();
    let address = peer.and_then(|ConnectInfo(peer)| {
        let hops = request.headers().get_all(FORWARDED_FOR).iter();
        real_client(
            peer.ip(),
            hops.map(|value| value.to_str().unwrap_or("?")),
            &trusted,
        )
    });
    origin::from(address, next.run(request)).await
}
