//! The folder of models.

use std::path::{Path, PathBuf};

use super::catalogue::{KNOWN_MODELS, KnownModel};

/// A model in the store.
#[derive(Clone, Debug, PartialEq)]
pub struct InstalledModel {
    /// What it is.
    pub model: KnownModel,
    /// Where its files are.
    pub folder: PathBuf,
}

/// The models in one folder, each in a folder of its name. A model's folder appears there by one rename when every file
/// in it is complete and its digest is right, so a model is there wholly or not at all. An operator without access to
/// the hub may also put the files there by hand.
///
/// Besides, an image may bring models in a folder of its own, which is only read.
#[derive(Clone, Debug)]
pub struct ModelStore {
    pub(super) folder: PathBuf,
    brought: Option<PathBuf>,
    pub(super) catalogue: &'static [KnownModel],
}

impl ModelStore {
    /// The store in this folder, which need not exist yet.
    pub fn new(folder: impl Into<PathBuf>) -> Self {
        Self::with_catalogue(folder, KNOWN_MODELS)
    }

    /// The store with other known models.
    pub fn with_catalogue(folder: impl Into<PathBuf>, catalogue: &'static [KnownModel]) -> Self {
        Self {
            folder: folder.into(),
            brought: None,
            catalogue,
        }
    }

    /// The same, with the models that an image brings.
    #[must_use]
    pub fn with_brought(self, folder: impl Into<PathBuf>) -> Self {
        Self {
            brought: Some(folder.into()),
            ..self
        }
    }

    /// The known models, the default first.
    pub fn known(&self) -> &'static [KnownModel] {
        self.catalogue
    }

    /// The known model of this name: the short name or the repository's, upper and lower case alike.
    pub fn find(&self, name: &str) -> Option<&'static KnownModel> {
        self.catalogue.iter().find(|model| {
            model.name.eq_ignore_ascii_case(name) || model.repository.eq_ignore_ascii_case(name)
        })
    }

    /// The folder of this model, where every file of it is there in its full size. A few file system look-ups: cheap
    /// enough to ask each time.
    pub fn installed(&self, name: &str) -> Option<PathBuf> {
        let model = self.find(name)?;
        let folders = [Some(&self.folder), self.brought.as_ref()];
        let mut folders = folders
            .into_iter()
            .flatten()
            .map(|folder| folder.join(model.name));
        folders.find(|folder| is_complete(folder, model))
    }

    /// Every installed model, in the catalogue's order.
    pub fn list(&self) -> Vec<InstalledModel> {
        self.catalogue
            .iter()
            .filter_map(|model| {
                let folder = self.installed(model.name)?;
                Some(InstalledModel {
                    model: *model,
                    folder,
                })
            })
            .collect()
    }

    /// Removes a model and whatever of it was fetched in part; `false` where there was nothing.
    pub fn remove(&self, name: &str) -> std::io::Result<bool> {
        let Some(model) = self.find(name) else {
            return Ok(false);
        };
        let had_parts = remove_folder(&self.partial_folder(model))?;
        let folder = self.folder.join(model.name);
        if !folder.exists() {
            return Ok(had_parts);
        }
        // Out of the way in one step first: a model that is only half there must not be found.
        let aside = self.folder.join(format!(".removed-{}", model.name));
        remove_folder(&aside)?;
        std::fs::rename(&folder, &aside)?;
        remove_folder(&aside)?;
        Ok(true)
    }

    /// Where a model's files are while they arrive. The revision is part of the name, so that files of two never mix.
    pub(super) fn partial_folder(&self, model: &KnownModel) -> PathBuf {
        let revision: String = model.revision.chars().take(12).collect();
        self.folder.join(format!(".partial-{}-{revision}", model.name))
    }
}

pub(super) fn is_complete(folder: &Path, model: &KnownModel) -> bool {
    model.files.iter().all(|file| {
        std::fs::metadata(folder.join(file.name))
            .is_ok_and(|metadata| metadata.is_file() && metadata.len() == file.size)
    })
}

/// `false` where there is none.
pub(super) fn remove_folder(folder: &Path) -> std::io::Result<bool> {
    match std::fs::remove_dir_all(folder) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(error),
    }
}
