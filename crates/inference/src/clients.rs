//! The clients of outgoing calls to registered servers: the one that everything shares, and variants of it for servers whose
//! certificate is not checked or whose host may be private.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use mnemosyne_domain::ProviderDraft;
use mnemosyne_http::{HttpError, Outbound, OutboundSettings};

/// More variants than this are not remembered at once.
const MAX_VARIANTS: usize = 64;

/// What a variant does otherwise: whether it checks certificates, and the address whose host may be private.
type Variant = (bool, Option<String>);

/// See the [module](self). Clones share everything.
#[derive(Clone)]
pub struct Clients {
    settings: OutboundSettings,
    shared: Outbound,
    variants: Arc<Mutex<HashMap<Variant, Outbound>>>,
}

impl std::fmt::Debug for Clients {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Clients")
            .field("settings", &self.settings)
            .finish_non_exhaustive()
    }
}

impl Clients {
    /// Clients with these settings as far as a server does not say otherwise. Connects to nothing.
    pub fn new(settings: OutboundSettings) -> Result<Self, HttpError> {
        Ok(Self {
            shared: Outbound::new(settings.clone())?,
            settings,
            variants: Arc::default(),
        })
    }

    /// The client that everything shares.
    pub fn shared(&self) -> &Outbound {
        &self.shared
    }

    /// The client for a server.
    pub fn of(&self, server: &ProviderDraft) -> Result<Outbound, HttpError> {
        if server.verify_tls && !server.allow_private {
            return Ok(self.shared.clone());
        }
        let variant = (
            server.verify_tls,
            server.allow_private.then(|| server.base_url.clone()),
        );
        let mut variants = self.variants.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = variants.get(&variant) {
            return Ok(known.clone());
        }
        let mut settings = self.settings.clone();
        settings.verify_tls &= server.verify_tls;
        if server.allow_private {
            settings.allow_host_of(&server.base_url);
        }
        let made = Outbound::new(settings)?;
        if variants.len() >= MAX_VARIANTS {
            variants.clear();
        }
        variants.insert(variant, made.clone());
        Ok(made)
    }
}
