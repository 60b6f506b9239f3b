//! What `createsuperuser` takes where the command line says nothing, under Django's own names.

use crate::reader::Reader;
use crate::secret::Secret;

/// The administrator that a command is to make.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SuperuserSection {
    /// Its name.
    pub username: Option<String>,
    /// Its mail address.
    pub email: Option<String>,
    /// Its password.
    pub password: Option<Secret>,
}

pub(crate) fn read(reader: &mut Reader<'_>) -> SuperuserSection {
    SuperuserSection {
        username: reader.text("DJANGO_SUPERUSER_USERNAME"),
        email: reader.text("DJANGO_SUPERUSER_EMAIL"),
        password: reader.secret("DJANGO_SUPERUSER_PASSWORD"),
    }
}

#[cfg(test)]
mod tests {
    use crate::config::tests::read;

    #[test]
    fn the_names_are_djangos_and_the_password_does_not_show() {
        assert_eq!(read(&[]).superuser, super::SuperuserSection::default());
        let config = read(&[
            ("DJANGO_SUPERUSER_USERNAME", "root"),
            ("DJANGO_SUPERUSER_EMAIL", "root@example.org"),
            ("DJANGO_SUPERUSER_PASSWORD", "hunter2"),
        ]);
        assert_eq!(config.superuser.username.as_deref(), Some("root"));
        assert_eq!(config.superuser.email.as_deref(), Some("root@example.org"));
        let password = config.superuser.password.as_ref();
        assert_eq!(password.map(|password| password.expose()), Some("hunter2"));
        assert!(!format!("{config:?}").contains("hunter2"));
    }
}
