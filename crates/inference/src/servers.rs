//! Trying out registered servers and their models: one small real call each, by the model's role.

use std::time::{Duration, Instant};

use mnemosyne_domain::ports::{ModelServers, ServerAnswer, ServerRefusal};
use mnemosyne_domain::{ModelDraft, ModelRole, ModelTarget, ProviderDraft, ProviderKey, ProviderKind};
use mnemosyne_http::{Headers, HttpError, Outbound};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::clients::Clients;
use crate::openai::{Dialect, OpenAiSettings, api_address, probe_dimension};

/// A test waits no longer than this, whatever a server's own limit is.
const PATIENCE: Duration = Duration::from_secs(25);
/// The largest answer to anything but a request for vectors, in bytes.
const MAX_ANSWER: usize = 1024 * 1024;
/// Names of models that are passed on.
const MAX_MODELS: usize = 200;
/// Characters of an answer in words that are passed on.
const MAX_WORDS: usize = 80;
/// The most tokens that a model is asked to answer with.
const MAX_TOKENS: u32 = 16;
/// A grey square of 32 pixels, as PNG: models refuse much smaller pictures.
const PICTURE: &str = "data:image/png;base64,iVBORw0KGgoAAAANSUhEUgAAACAAAAAgCAAAAABWESUoAAAAFklEQVR42mNoIAAYRhWMKhhVMFIVAABCAAAfN5c2AAAAAABJRU5ErkJggg==";

/// See the [module](self).
#[derive(Clone, Debug)]
pub struct Servers {
    clients: Clients,
}

/// One server, ready to be called.
struct Line {
    outbound: Outbound,
    headers: Headers,
    base_url: String,
}

impl Servers {
    /// Calls through these clients.
    pub fn new(clients: Clients) -> Self {
        Self { clients }
    }

    fn line(&self, target: &ModelTarget) -> Result<Line, ServerRefusal> {
        let timeout = target.server.limits.timeout.min(PATIENCE);
        let outbound = self.clients.of(&target.server).map_err(refusal)?;
        let headers = match &target.key {
            ProviderKey::None => Headers::new(),
            ProviderKey::Open(key) => Headers::new().bearer(key.expose()).map_err(refusal)?,
            ProviderKey::Unreadable => {
                return Err(ServerRefusal(
                    "The stored key cannot be opened with the configured encryption keys; enter it again."
                        .to_owned(),
                ));
            }
        };
        Ok(Line {
            outbound: outbound.with_timeout(timeout),
            headers,
            base_url: target.server.base_url.clone(),
        })
    }

    async fn try_embedding(
        &self,
        target: &ModelTarget,
        model: &ModelDraft,
    ) -> Result<ServerAnswer, ServerRefusal> {
        // Opens the key, and says so where that fails.
        let line = self.line(target)?;
        let settings = OpenAiSettings {
            api_key: match &target.key {
                ProviderKey::Open(key) => Some(key.expose().to_owned()),
                ProviderKey::None | ProviderKey::Unreadable => None,
            },
            dialect: dialect(target.server.kind),
            timeout: target.server.limits.timeout.min(PATIENCE),
            takes_instructions: model.takes_instructions,
            ..OpenAiSettings::new(
                &target.server.base_url,
                &model.name,
                model.dimension.unwrap_or_default(),
            )
        };
        let began = Instant::now();
        let dimension = probe_dimension(&settings, &line.outbound)
            .await
            .map_err(|error| ServerRefusal(error.to_string()))?;
        Ok(ServerAnswer {
            latency: began.elapsed(),
            dimension: Some(dimension),
            detail: format!("It gave a vector of {dimension} numbers."),
            models: Vec::new(),
        })
    }
}

/// How a kind of server is asked for vectors.
pub(crate) fn dialect(kind: ProviderKind) -> Dialect {
    match kind {
        ProviderKind::OpenAi => Dialect::OpenAi,
        ProviderKind::Synesis => Dialect::Synesis,
    }
}

fn refusal(error: HttpError) -> ServerRefusal {
    let sentence = match &error {
        // The others begin with the name of a host, which stays as it is written.
        HttpError::Address { reason } => format!("The address is not usable: {reason}."),
        HttpError::Setup { reason } => format!("The call cannot be set up: {reason}."),
        other => format!("{other}."),
    };
    ServerRefusal(sentence)
}

fn unusable(reason: impl std::fmt::Display) -> ServerRefusal {
    ServerRefusal(format!("The server's answer is unusable: {reason}."))
}

impl Line {
    async fn post<T: serde::de::DeserializeOwned>(
        &self,
        path: &str,
        body: &Value,
    ) -> Result<(T, Duration), ServerRefusal> {
        let url = api_address(&self.base_url, path);
        let began = Instant::now();
        let answer = self
            .outbound
            .post_json_bounded(&url, &self.headers, body, MAX_ANSWER)
            .await
            .map_err(refusal)?;
        let latency = began.elapsed();
        let read = serde_json::from_slice(&answer)
            .map_err(|error| unusable(format!("it is not the expected JSON ({error})")))?;
        Ok((read, latency))
    }

    async fn try_reranker(&self, model: &ModelDraft) -> Result<ServerAnswer, ServerRefusal> {
        let body = json!({
            "model": model.name,
            "query": "How is honey made?",
            "documents": ["Bees make honey from nectar.", "The valve is closed with a wrench."],
            "top_n": 2,
        });
        let (answer, latency): (RerankAnswer, _) = self.post("rerank", &body).await?;
        let mut places: Vec<usize> = answer.results.iter().map(|result| result.index).collect();
        places.sort_unstable();
        if places != [0, 1] {
            return Err(unusable("it does not hold one score for each of two documents"));
        }
        if !answer
            .results
            .iter()
            .all(|result| result.relevance_score.is_finite())
        {
            return Err(unusable("a score is no number"));
        }
        let best = answer
            .results
            .iter()
            .max_by(|left, right| left.relevance_score.total_cmp(&right.relevance_score))
            .map_or(0, |result| result.index);
        let verdict = if best == 0 {
            "It put the right one of two documents first."
        } else {
            "It scored two documents, the wrong one higher: it may be no reranker."
        };
        Ok(ServerAnswer {
            latency,
            dimension: None,
            detail: verdict.to_owned(),
            models: Vec::new(),
        })
    }

    async fn try_chat(&self, model: &ModelDraft) -> Result<ServerAnswer, ServerRefusal> {
        let content = match model.role {
            ModelRole::Vision => json!([
                {"type": "text", "text": "Name the colour of this picture in one word."},
                {"type": "image_url", "image_url": {"url": PICTURE}},
            ]),
            _ => json!("Answer with one word: ready"),
        };
        let body = |limit: &str| {
            let mut body = json!({
                "model": model.name,
                "messages": [{"role": "user", "content": content}],
            });
            body[limit] = json!(MAX_TOKENS);
            body
        };
        let path = "chat/completions";
        let (answer, latency): (ChatAnswer, _) = match self.post(path, &body("max_tokens")).await {
            // The younger models of OpenAI know the limit by another name only.
            Err(ServerRefusal(reason)) if reason.contains("max_completion_tokens") => {
                self.post(path, &body("max_completion_tokens")).await?
            }
            other => other?,
        };
        let Some(choice) = answer.choices.into_iter().next() else {
            return Err(unusable("it holds no choice"));
        };
        let words: Vec<&str> = choice
            .message
            .content
            .as_deref()
            .unwrap_or_default()
            .split_whitespace()
            .collect();
        let words: String = words.join(" ").chars().take(MAX_WORDS).collect();
        Ok(ServerAnswer {
            latency,
            dimension: None,
            // A model that thinks first may not have come to words yet.
            detail: if words.is_empty() {
                "It answered, without words yet.".to_owned()
            } else {
                format!("It answered: {words}")
            },
            models: Vec::new(),
        })
    }
}

#[derive(Deserialize)]
struct RerankAnswer {
    results: Vec<RerankResult>,
}

#[derive(Deserialize)]
struct RerankResult {
    index: usize,
    relevance_score: f64,
}

#[derive(Deserialize)]
struct ChatAnswer {
    choices: Vec<ChatChoice>,
}

#[derive(Deserialize)]
struct ChatChoice {
    message: ChatMessage,
}

#[derive(Deserialize)]
struct ChatMessage {
    content: Option<String>,
}

#[derive(Deserialize)]
struct ModelsAnswer {
    data: Vec<ModelsEntry>,
}

#[derive(Deserialize)]
struct ModelsEntry {
    id: String,
}

#[async_trait::async_trait]
impl ModelServers for Servers {
    async fn admit(&self, server: &ProviderDraft) -> Result<(), ServerRefusal> {
        let outbound = self.clients.of(server).map_err(refusal)?;
        outbound.check_base_url(&server.base_url).await.map_err(refusal)
    }

    async fn ask_for_models(&self, target: &ModelTarget) -> Result<ServerAnswer, ServerRefusal> {
        let line = self.line(target)?;
        let url = api_address(&line.base_url, "models");
        let began = Instant::now();
        let answer = line.outbound.get_bounded(&url, &line.headers, MAX_ANSWER).await;
        let latency = began.elapsed();
        let body = match answer {
            Ok(body) => body,
            // It is there, and has no list: many servers of one model are like that.
            Err(HttpError::Status {
                code: 404 | 405 | 501,
                ..
            }) => {
                return Ok(ServerAnswer {
                    latency,
                    dimension: None,
                    detail: "It answers, and has no list of its models; test a model.".to_owned(),
                    models: Vec::new(),
                });
            }
            Err(error) => return Err(refusal(error)),
        };
        let listed: ModelsAnswer = serde_json::from_slice(&body)
            .map_err(|error| unusable(format!("it is not the expected JSON ({error})")))?;
        let count = listed.data.len();
        Ok(ServerAnswer {
            latency,
            dimension: None,
            detail: match count {
                1 => "It offers 1 model.".to_owned(),
                count => format!("It offers {count} models."),
            },
            models: listed
                .data
                .into_iter()
                .take(MAX_MODELS)
                .map(|entry| entry.id.chars().take(200).collect())
                .collect(),
        })
    }

    async fn try_model(
        &self,
        target: &ModelTarget,
        model: &ModelDraft,
    ) -> Result<ServerAnswer, ServerRefusal> {
        match model.role {
            ModelRole::Embedding => self.try_embedding(target, model).await,
            ModelRole::Reranker => self.line(target)?.try_reranker(model).await,
            ModelRole::Chat | ModelRole::Vision => self.line(target)?.try_chat(model).await,
        }
    }
}
