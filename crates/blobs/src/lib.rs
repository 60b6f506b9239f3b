//! Whole files by their content, on the local file system or in a bucket; and the bucket of Daedalus, with the folder that
//! plays it. The only user of `aws-sdk-s3`.

pub mod files;
pub mod folder;
mod layout;
pub mod s3;
