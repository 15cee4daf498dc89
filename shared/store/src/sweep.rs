//! Deleting whatever lies under a folder of a bucket, in bounded steps: for an account or a job that is gone.

use crate::files::DELETE_BATCH;
use crate::{Error, Files};
use aws_sdk_s3::types::{Delete, ObjectIdentifier};
use kiln_core::ids::{AccountId, JobId};

impl Files {
    /// Deletes what clients sent and what was kept of it, `most` objects of each at most; `true` when nothing is left.
    pub async fn forget_uploads_of(&self, account: &AccountId, most: usize) -> Result<bool, Error> {
        let incoming = self.empty(self.incoming()?, &format!("incoming/{account}/"), most).await?;
        Ok(self.empty(self.media()?, &format!("inputs/{account}/"), most).await? && incoming)
    }

    /// Deletes what all attempts at a job made and showed, `most` objects of each at most; `true` when nothing is left.
    pub async fn forget_results_of(&self, job: &JobId, most: usize) -> Result<bool, Error> {
        let artifacts = self.empty(self.media()?, &format!("artifacts/{job}/"), most).await?;
        Ok(self.empty(self.media()?, &format!("previews/{job}/"), most).await? && artifacts)
    }

    async fn empty(&self, bucket: &str, prefix: &str, most: usize) -> Result<bool, Error> {
        let mut deleted = 0;
        while deleted < most {
            let page = self.client.list_objects_v2().bucket(bucket).prefix(prefix).max_keys(DELETE_BATCH as i32).send().await.map_err(Error::aws)?;
            let mut delete = Delete::builder().quiet(true);
            let mut count = 0;
            for key in page.contents().iter().filter_map(|object| object.key()) {
                delete = delete.objects(ObjectIdentifier::builder().key(key).build().map_err(Error::internal)?);
                count += 1;
            }
            if count == 0 {
                return Ok(true);
            }
            let delete = delete.build().map_err(Error::internal)?;
            let output = self.client.delete_objects().bucket(bucket).delete(delete).send().await.map_err(Error::aws)?;
            if let Some(first) = output.errors().first() {
                return Err(Error::Aws(format!("{} objects under {prefix} not deleted: {}", output.errors().len(), first.code().unwrap_or("no code"))));
            }
            deleted += count;
            if page.is_truncated() != Some(true) {
                return Ok(true);
            }
        }
        Ok(false)
    }
}
