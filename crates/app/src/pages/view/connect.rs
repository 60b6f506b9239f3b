//! How clients reach Mnemosyne over MCP.

use askama::Template;
use chrono::{DateTime, Utc};
use mnemosyne_domain::Tool;

use super::assets::icon;
use super::format::{compact, count, middle, plural, type_icon};
use super::frame::{Field, Frame, LibraryRef, Pager};

/// A token that was just made. Shown on the answer to the form and never again.
#[derive(Clone, Debug)]
pub struct NewToken {
    /// What its owner calls it.
    pub name: String,
    /// The token itself.
    pub token: String,
}

/// A token in the list.
#[derive(Clone, Debug)]
pub struct TokenRow {
    /// Its row, for the address of its form.
    pub id: i64,
    /// What its owner calls it.
    pub name: String,
    /// Its first characters.
    pub prefix: String,
    /// Whose it is, on the page of an administrator who sees those of others.
    pub owner: Option<String>,
    /// The tools it may call; `None` for every one.
    pub tools: Option<Vec<Tool>>,
    /// How many libraries it is narrowed to; `None` for every one.
    pub library_count: Option<u64>,
    /// When it was made.
    pub created_at: DateTime<Utc>,
    /// When it was last accepted.
    pub last_used_at: Option<DateTime<Utc>>,
    /// After this moment it is refused.
    pub expires_at: Option<DateTime<Utc>>,
    /// When it was revoked.
    pub revoked_at: Option<DateTime<Utc>>,
}

impl TokenRow {
    /// Whether it is accepted at a moment.
    pub fn is_live(&self, now: &DateTime<Utc>) -> bool {
        self.revoked_at.is_none() && self.expires_at.is_none_or(|end| end > *now)
    }

    /// Its tools in words.
    pub fn tools_text(&self) -> String {
        match &self.tools {
            None => "all tools".to_owned(),
            Some(tools) => tools
                .iter()
                .map(|tool| tool.as_str())
                .collect::<Vec<_>>()
                .join(", "),
        }
    }
}

/// A tool that a new token may be given.
#[derive(Clone, Copy, Debug)]
pub struct ToolChoice {
    /// The tool.
    pub tool: Tool,
    /// What it does, in a few words.
    pub hint: &'static str,
}

/// What was typed for a new token.
#[derive(Clone, Debug, Default)]
pub struct TokenForm {
    /// `name`: unique for its owner.
    pub name: Field,
    /// `expires_in`: `30d`, `90d`, `365d`, or empty for never.
    pub expires_in: Field,
    /// `tool`, once for each that is ticked; none ticked means every one.
    pub tools: Vec<Tool>,
    /// `library`, once for each uid that is ticked; none ticked means every one.
    pub libraries: Vec<String>,
}

/// What the test of the connection found.
#[derive(Clone, Debug)]
pub struct ConnectionTest {
    /// Whether it answered as it should.
    pub is_good: bool,
    /// One sentence: what answered, or what to check.
    pub message: String,
    /// How long it took.
    pub took_ms: u64,
}

/// What to put where for one client.
#[derive(Clone, Debug)]
pub struct Snippet {
    /// The client's name.
    pub client: &'static str,
    /// Where the text goes, in a few words.
    pub place: &'static str,
    /// The text.
    pub text: String,
}

/// `/connect/?q=&page=`. Forms post `name`, `expires_in`, `tool`…, `library`… to `/connect/tokens/` (the answer is this page with
/// `new_token`, never a redirect, because the token is shown once), nothing to `/connect/tokens/{id}/revoke/`, and
/// nothing to `/connect/test/` (the answer is this page with `test`).
#[derive(Template)]
#[template(path = "connect.html")]
pub struct ConnectPage {
    /// The frame.
    pub frame: Frame,
    /// The address of the MCP endpoint as clients see it, with its slash.
    pub mcp_url: String,
    /// Whether this process reaches the address as clients do.
    pub can_test: bool,
    /// A token that was just made.
    pub new_token: Option<NewToken>,
    /// What was typed, where it was wrong.
    pub form: TokenForm,
    /// The viewer's tokens on this page of the list, newest first, revoked ones last.
    pub tokens: Vec<TokenRow>,
    /// Whether the viewer has any, whatever the filter.
    pub has_tokens: bool,
    /// What their names must contain (`q`).
    pub filter: String,
    /// Steps through the list; its total is that of the filtered list.
    pub pager: Pager,
    /// Libraries that a token may be narrowed to.
    pub libraries: Vec<LibraryRef>,
    /// How many more there are.
    pub other_libraries: u64,
    /// What the test found, after it ran.
    pub test: Option<ConnectionTest>,
    /// Whether callers need a token at all (`MCP_REQUIRE_AUTH`).
    pub requires_token: bool,
}

impl ConnectPage {
    /// The tools in the order they are offered.
    pub fn tool_choices(&self) -> [ToolChoice; 6] {
        Tool::ALL.map(|tool| ToolChoice {
            tool,
            hint: match tool {
                Tool::Search => "find passages",
                Tool::GetChunk => "read one passage",
                Tool::ListLibraries => "see libraries",
                Tool::ListCollections => "see collections",
                Tool::ListItems => "see items",
                Tool::GetHealth => "always allowed",
            },
        })
    }

    /// Whether a tool was ticked.
    pub fn has_tool(&self, tool: &Tool) -> bool {
        self.form.tools.contains(tool)
    }

    /// Whether a library was ticked.
    pub fn has_library(&self, library: &LibraryRef) -> bool {
        self.form.libraries.iter().any(|uid| uid == library.uid.as_str())
    }

    /// Spans of life to choose from: the value of `expires_in`, what it says, whether it is chosen.
    pub fn expiries(&self) -> [(&'static str, &'static str, bool); 4] {
        let chosen = self.form.expires_in.value.as_str();
        [
            ("90d", "90 days"),
            ("30d", "30 days"),
            ("365d", "1 year"),
            ("", "never"),
        ]
        .map(|(value, label)| (value, label, value == chosen))
    }

    /// The snippets, with the new token where there is one.
    pub fn snippets(&self) -> Vec<Snippet> {
        snippets(
            &self.mcp_url,
            self.new_token.as_ref().map(|token| token.token.as_str()),
        )
    }
}

/// What to put where for each common client. Without a token a placeholder stands in its place.
pub fn snippets(url: &str, token: Option<&str>) -> Vec<Snippet> {
    let token = token.unwrap_or("YOUR_TOKEN");
    let json = |key: &str, kind: &str| {
        format!(
            "{{\n  \"{key}\": {{\n    \"mnemosyne\": {{\n{kind}      \"headers\": {{ \"Authorization\": \"Bearer {token}\" }}\n    }}\n  }}\n}}"
        )
    };
    vec![
        Snippet {
            client: "Claude Code",
            place: "in a terminal",
            text: format!(
                "claude mcp add --transport http mnemosyne {url} \\\n  --header \"Authorization: Bearer {token}\""
            ),
        },
        Snippet {
            client: "Cursor",
            place: "in ~/.cursor/mcp.json",
            text: json("mcpServers", &format!("      \"url\": \"{url}\",\n")),
        },
        Snippet {
            client: "VS Code",
            place: "in .vscode/mcp.json",
            text: json(
                "servers",
                &format!("      \"type\": \"http\",\n      \"url\": \"{url}\",\n"),
            ),
        },
        Snippet {
            client: "Gemini CLI",
            place: "in ~/.gemini/settings.json",
            text: json("mcpServers", &format!("      \"httpUrl\": \"{url}\",\n")),
        },
        Snippet {
            client: "Python",
            place: "with the package mcp",
            text: format!(
                "from mcp import ClientSession\nfrom mcp.client.streamable_http import streamablehttp_client\n\n\
                 headers = {{\"Authorization\": \"Bearer {token}\"}}\n\
                 async with streamablehttp_client(\"{url}\", headers=headers) as (read, write, _):\n\
                 \x20   async with ClientSession(read, write) as session:\n\
                 \x20       await session.initialize()\n\
                 \x20       print(await session.call_tool(\"search\", {{\"query\": \"memory\"}}))"
            ),
        },
        Snippet {
            client: "curl",
            place: "in a terminal",
            text: format!(
                "curl {url} \\\n  -H 'Authorization: Bearer {token}' \\\n  -H 'Content-Type: application/json' \\\n  \
                 -H 'Accept: application/json, text/event-stream' \\\n  \
                 -d '{{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"tools/list\"}}'"
            ),
        },
    ]
}
