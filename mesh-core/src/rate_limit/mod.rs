//! Local rate limits: token buckets, the descriptors of requests, and which buckets a request takes from.

mod descriptor;
mod limiter;
mod token_bucket;

pub use descriptor::{Action, RateLimit};
pub(crate) use descriptor::{Descriptor, DescriptorContext};
pub use limiter::{DescriptorConfig, Limited, Limiter, LimiterConfig};
pub use token_bucket::{TokenBucket, TokenBucketConfig};
