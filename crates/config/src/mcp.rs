//! "MCP server" of the deployment document, and the lifetime of per-turn tokens.

use std::time::Duration;

use crate::reader::Reader;

/// Who may use MCP.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct McpSection {
    /// Whether every call but `get_health` needs a token.
    pub require_auth: bool,
    /// How far ahead the `exp` of a per-turn token may lie.
    pub turn_token_max_lifetime: Duration,
}

pub(crate) fn read(reader: &mut Reader<'_>) -> Option<McpSection> {
    let require_auth = reader.boolean("MCP_REQUIRE_AUTH");
    let turn_token_max_lifetime = reader.seconds("MNEMOSYNE_TURN_TOKEN_MAX_LIFETIME", 1..=86_400);
    Some(McpSection {
        require_auth: require_auth?,
        turn_token_max_lifetime: turn_token_max_lifetime?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::tests::{problems, read};
    use crate::environment::MapEnvironment;

    #[test]
    fn good_and_empty_values() {
        let unset = read(&[("MCP_REQUIRE_AUTH", "")]).mcp;
        assert!(unset.require_auth);
        assert_eq!(unset.turn_token_max_lifetime, Duration::from_secs(900));
        let set = read(&[
            ("MCP_REQUIRE_AUTH", "False"),
            ("MNEMOSYNE_TURN_TOKEN_MAX_LIFETIME", "60"),
        ])
        .mcp;
        assert!(!set.require_auth);
        assert_eq!(set.turn_token_max_lifetime, Duration::from_secs(60));
    }

    #[test]
    fn bad_values() {
        for (name, value) in [
            ("MCP_REQUIRE_AUTH", "off please"),
            ("MNEMOSYNE_TURN_TOKEN_MAX_LIFETIME", "0"),
            ("MNEMOSYNE_TURN_TOKEN_MAX_LIFETIME", "15m"),
        ] {
            let problems = problems(&MapEnvironment::new().with(name, value));
            assert_eq!(problems.len(), 1, "{name}={value}");
            assert_eq!(problems[0].name, name);
        }
    }
}
