//! Who may do what: one table, one function.
//!
//! | | administrator | staff, user, service | bearer | local command |
//! |---|---|---|---|---|
//! | search, browse | yes | yes | its scope, its tools | yes |
//! | make, change, delete libraries, collections, items | yes | yes | no | yes |
//! | ingest, retry, cancel | yes | yes | no | yes |
//! | own MCP tokens | yes | yes | no | yes |
//! | everybody's tokens, users, keys, servers of models, the audit | yes | no | no | yes |
//!
//! A library is not private to a user: everybody with an account shares what is here. A *search* nevertheless sees either
//! one workspace or the global libraries, never both (contract §7). `docs/permissions.md` has the same tables for people, and a
//! test here compares them.

use mnemosyne_domain::{LibraryUid, Principal, Scope, Tool, UserId, WorkspaceId};

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
    /// Users, keys, everybody's tokens, servers of models.
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

/// Whether a caller may see a library. One that it may not see does not exist for it.
pub fn sees(principal: &Principal, library: &LibraryUid, workspace: Option<&WorkspaceId>) -> bool {
    browsing(principal).is_none_or(|scope| scope.admits(library, workspace))
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

    fn staff() -> Principal {
        Principal::User {
            id: UserId(2),
            username: "s".into(),
            is_superuser: false,
            is_staff: true,
        }
    }

    fn bearer(workspace: Option<&str>, library: Option<&str>) -> Principal {
        Principal::Bearer(TokenGrant {
            label: "b".into(),
            tools: None,
            workspace: workspace.and_then(WorkspaceId::parse),
            libraries: library.map(|uid| LibraryUid::parse(uid).into_iter().collect()),
        })
    }

    fn kinds() -> [(&'static str, Principal); 8] {
        [
            ("administrator", user(true)),
            ("staff", staff()),
            ("user, service account", user(false)),
            ("stored token", bearer(None, None)),
            ("stored token or turn for library `l`", bearer(None, Some("l"))),
            ("turn of workspace `w`", bearer(Some("w"), None)),
            (
                "turn of workspace `w` for library `l`",
                bearer(Some("w"), Some("l")),
            ),
            ("command on this machine", Principal::Local),
        ]
    }

    fn row(name: &str, cells: impl IntoIterator<Item = bool>) -> String {
        let cells: Vec<&str> = cells
            .into_iter()
            .map(|allowed| if allowed { "yes" } else { "no" })
            .collect();
        format!("| {name} | {} |\n", cells.join(" | "))
    }

    /// What each kind of caller may do.
    fn actions() -> String {
        let mut table = String::from(
            "| | read, search | make, change, delete | ingest, jobs | own MCP tokens | users, keys, everybody's tokens |\n\
             |---|---|---|---|---|---|\n",
        );
        for (name, principal) in kinds() {
            let allowed = [
                Action::Read,
                Action::Write,
                Action::Ingest,
                Action::OwnTokens,
                Action::Administer,
            ]
            .map(|action| require(&principal, action).is_ok());
            table.push_str(&row(name, allowed));
        }
        table
    }

    /// Which library each kind of caller sees, and which of those it may change.
    fn libraries() -> String {
        let mut table = String::from(
            "| | global library `l` | another global library | library `l` of workspace `w` | another library of `w` | \
             library of another workspace | may change what it sees |\n|---|---|---|---|---|---|---|\n",
        );
        let seen = [
            ("l", None),
            ("m", None),
            ("l", Some("w")),
            ("m", Some("w")),
            ("n", Some("v")),
        ];
        for (name, principal) in kinds() {
            let cells = seen.iter().map(|(uid, workspace)| {
                let uid = LibraryUid::from_store((*uid).to_owned());
                sees(&principal, &uid, workspace.and_then(WorkspaceId::parse).as_ref())
            });
            let may_change = require(&principal, Action::Write).is_ok();
            table.push_str(&row(name, cells.chain([may_change])));
        }
        table
    }

    #[test]
    fn the_tables_in_the_documentation_are_these() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/permissions.md");
        let written = std::fs::read_to_string(path).unwrap_or_default();
        for table in [actions(), libraries()] {
            assert!(
                written.contains(&table),
                "docs/permissions.md lacks this table:\n{table}"
            );
        }
    }

    #[test]
    fn no_search_of_anybody_sees_two_kinds_of_libraries() {
        for (name, principal) in kinds() {
            for asked in [None, WorkspaceId::parse("w"), WorkspaceId::parse("v")] {
                let scope = scope(&principal, asked);
                let global = scope.admits(&LibraryUid::from_store("l".into()), None);
                for workspace in ["w", "v"] {
                    let inside = scope.admits(
                        &LibraryUid::from_store("l".into()),
                        WorkspaceId::parse(workspace).as_ref(),
                    );
                    assert!(!(global && inside), "{name}");
                }
            }
        }
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
