//! Who may do what: one table, one function.
//!
//! | | administrator | staff, user, service | bearer | local command |
//! |---|---|---|---|---|
//! | search, browse | yes | yes | its scope, its tools | yes |
//! | make, change, delete libraries, collections, items | yes | yes | no | yes |
//! | ingest, retry, cancel | yes | yes | no | yes |
//! | own MCP tokens | yes | yes | no | yes |
//! | everybody's tokens, users, keys, the audit | yes | no | no | yes |
//!
//! A library is not private to a user: everybody with an account shares what is here. A *search* nevertheless sees either
//! one workspace or the global libraries, never both (contract §7).

use mnemosyne_domain::{Principal, Scope, Tool, UserId, WorkspaceId};

use crate::error::{ServiceError, ServiceResult};

/// What a caller wants to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// Search and read.
    Read,
    /// Make, change and delete libraries, collections and items.
    Write,
    /// Ingest, retry, cancel, and look at jobs.
    Ingest,
    /// Make, list and revoke one's own MCP tokens.
    OwnTokens,
    /// Users, keys, everybody's tokens.
    Administer,
    /// Call this MCP tool.
    Call(Tool),
}

/// Whether a caller may do this.
pub fn require(principal: &Principal, action: Action) -> ServiceResult<()> {
    let allowed = match (principal, action) {
        (Principal::Local, _) => true,
        (Principal::User { is_superuser, .. }, Action::Administer) => *is_superuser,
        (Principal::User { .. }, _) => true,
        (Principal::Bearer(_), Action::Read) => true,
        (Principal::Bearer(grant), Action::Call(tool)) => {
            grant.tools.as_ref().is_none_or(|tools| tools.contains(&tool))
        }
        (Principal::Bearer(_), _) => false,
    };
    if allowed {
        return Ok(());
    }
    Err(ServiceError::Forbidden(match action {
        Action::Call(tool) => format!("This token may not call {}.", tool.as_str()),
        _ => "You do not have permission to perform this action.".to_owned(),
    }))
}

/// The scope of a caller's search: what a bearer is bound to, whatever it asks for; otherwise the workspace asked for.
pub fn scope(principal: &Principal, asked: Option<WorkspaceId>) -> Scope {
    match principal {
        Principal::Bearer(grant) => Scope {
            workspace: grant.workspace.clone(),
            libraries: grant.libraries.clone(),
        },
        Principal::User { .. } | Principal::Local => Scope {
            workspace: asked,
            libraries: None,
        },
    }
}

/// The scope of a caller's reading outside a search: `None` shows everything.
pub fn browsing(principal: &Principal) -> Option<Scope> {
    match principal {
        Principal::Bearer(grant) => Some(Scope {
            workspace: grant.workspace.clone(),
            libraries: grant.libraries.clone(),
        }),
        Principal::User { .. } | Principal::Local => None,
    }
}

/// The user behind a caller, where there is one.
pub fn user_id(principal: &Principal) -> Option<UserId> {
    match principal {
        Principal::User { id, .. } => Some(*id),
        Principal::Bearer(_) | Principal::Local => None,
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use mnemosyne_domain::TokenGrant;

    use super::*;

    fn user(is_superuser: bool) -> Principal {
        Principal::User {
            id: UserId(1),
            username: "u".into(),
            is_superuser,
            is_staff: false,
        }
    }

    #[test]
    fn the_table_holds() {
        let bearer = Principal::Bearer(TokenGrant {
            label: "mnm_x".into(),
            tools: Some(BTreeSet::from([Tool::Search])),
            workspace: WorkspaceId::parse("w"),
            libraries: None,
        });
        for action in [Action::Read, Action::Write, Action::Ingest, Action::OwnTokens] {
            assert!(require(&user(false), action).is_ok());
            assert_eq!(
                require(&bearer, action).is_ok(),
                action == Action::Read,
                "{action:?}"
            );
        }
        assert!(require(&user(false), Action::Administer).is_err());
        assert!(require(&user(true), Action::Administer).is_ok());
        assert!(require(&bearer, Action::Call(Tool::Search)).is_ok());
        assert!(require(&bearer, Action::Call(Tool::ListItems)).is_err());
    }

    #[test]
    fn a_bearers_claims_override_what_it_asks_for() {
        let grant = TokenGrant {
            label: "k".into(),
            tools: None,
            workspace: WorkspaceId::parse("own"),
            libraries: None,
        };
        let asked = WorkspaceId::parse("foreign");
        assert_eq!(
            scope(&Principal::Bearer(grant), asked.clone()).workspace,
            WorkspaceId::parse("own")
        );
        assert_eq!(scope(&user(true), asked.clone()).workspace, asked);
    }
}
