//! The demo library: a few texts in several types, compiled in, to try everything with.

use bytes::Bytes;
use include_dir::{Dir, include_dir};
use mnemosyne_domain::{Principal, Queue};
use serde::Deserialize;

use crate::context::Services;
use crate::error::{ServiceError, ServiceResult};
use crate::ingest::IngestRequest;
use crate::libraries::LibraryRequest;
use crate::permission::{self, Action};

static FILES: Dir<'_> = include_dir!("$CARGO_MANIFEST_DIR/../../demo");

#[derive(Deserialize)]
struct Manifest {
    library: Vec<DemoLibrary>,
    question: Vec<DemoQuestion>,
}

#[derive(Deserialize)]
struct DemoLibrary {
    name: String,
    #[serde(rename = "type")]
    library_type: String,
    description: String,
    folder: String,
    document: Vec<DemoDocument>,
}

#[derive(Deserialize)]
struct DemoDocument {
    file: String,
    title: String,
}

/// A question that a document of the demo library answers.
#[derive(Clone, Debug, Deserialize)]
pub struct DemoQuestion {
    /// The question.
    pub text: String,
    /// What the answer says, word for word.
    pub answer: String,
    /// The title of the document that answers it.
    pub title: String,
}

fn manifest() -> ServiceResult<Manifest> {
    let text = FILES
        .get_file("manifest.toml")
        .and_then(|file| file.contents_utf8())
        .unwrap_or_default();
    toml::from_str(text).map_err(|error| ServiceError::Internal(format!("demo/manifest.toml: {error}")))
}

impl Services {
    /// Questions to try: those that can be answered, because the library of their document is there and holds something.
    pub async fn demo_questions(&self, caller: &Principal) -> ServiceResult<Vec<DemoQuestion>> {
        permission::require(caller, Action::Read)?;
        let manifest = manifest()?;
        let mut questions = Vec::with_capacity(manifest.question.len());
        for library in &manifest.library {
            let found = self.library_by_name(caller, &library.name).await?;
            if found.is_none_or(|found| found.item_count == 0) {
                continue;
            }
            let answers = |question: &&DemoQuestion| {
                let title = &question.title;
                library.document.iter().any(|document| document.title == *title)
            };
            questions.extend(manifest.question.iter().filter(answers).cloned());
        }
        Ok(questions)
    }

    /// Puts the demo library on its way, and says how many documents are new. Repeating it is harmless.
    pub async fn load_demo(&self, caller: &Principal) -> ServiceResult<usize> {
        permission::require(caller, Action::Write)?;
        let mut new = 0;
        for library in manifest()?.library {
            let request = LibraryRequest {
                name: library.name.clone(),
                library_type: library.library_type,
                description: library.description,
            };
            let target = match self.create_library(caller, request).await {
                Ok(made) => made,
                Err(ServiceError::Conflict { .. }) => self
                    .library_by_name(caller, &library.name)
                    .await?
                    .ok_or(ServiceError::NotFound("library"))?,
                Err(error) => return Err(error),
            };
            for document in library.document {
                let path = format!("{}/{}", library.folder, document.file);
                let Some(file) = FILES.get_file(&path) else {
                    return Err(ServiceError::Internal(format!("demo/{path} is not compiled in")));
                };
                let content = Bytes::from_static(file.contents());
                let stream = futures::stream::once(async move { Ok(content) });
                let upload = self.receive_upload(caller, Box::pin(stream)).await?;
                let request = IngestRequest {
                    library_uid: Some(target.uid.to_string()),
                    source_ref: Some(format!("demo/{path}")),
                    filename: Some(document.file),
                    title: Some(document.title),
                    ..IngestRequest::default()
                };
                let enqueued = self
                    .ingest(caller, request, Some(upload), Queue::Embedding)
                    .await?;
                new += usize::from(!enqueued.deduplicated);
            }
        }
        Ok(new)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_manifest_names_files_that_are_there_and_types_that_exist() {
        let manifest = manifest().unwrap();
        assert!(manifest.library.len() >= 4 && !manifest.question.is_empty());
        for question in &manifest.question {
            let mut documents = manifest.library.iter().flat_map(|library| &library.document);
            let document = documents.find(|document| document.title == question.title);
            assert!(document.is_some(), "{}", question.title);
        }
        for library in manifest.library {
            assert!(
                mnemosyne_domain::LibraryType::parse(&library.library_type).is_some(),
                "{}",
                library.name
            );
            for document in library.document {
                let path = format!("{}/{}", library.folder, document.file);
                assert!(FILES.get_file(&path).is_some(), "{path}");
            }
        }
    }
}
