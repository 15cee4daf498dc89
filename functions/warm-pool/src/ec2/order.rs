//! One order at EC2: the request, field by field, and what the answer to it says.
//!
//! Promises: one instance or none; it carries its label from its first moment, with its disk, its address and its spot request; it can be given
//! nothing but a boot token and an address, has no role of ours, and ends for good when it shuts down.

use super::offers::Choice;
use super::wanted::Wanted;
use super::{LABEL, Root, said};
use crate::provider::{NotMade, Order};
use anyhow::ensure;
use aws_sdk_ec2::error::{ProvideErrorMetadata, SdkError};
use aws_sdk_ec2::operation::run_instances::RunInstancesError;
use aws_sdk_ec2::operation::run_instances::builders::RunInstancesFluentBuilder;
use aws_sdk_ec2::types::{
    BlockDeviceMapping, EbsBlockDevice, HttpTokensState, InstanceInterruptionBehavior, InstanceMarketOptionsRequest, InstanceMetadataEndpointState,
    InstanceMetadataOptionsRequest, InstanceMetadataTagsState, InstanceNetworkInterfaceSpecification, InstanceType, MarketType, ResourceType, ShutdownBehavior,
    SpotInstanceType, SpotMarketOptions, Tag, TagSpecification, VolumeType,
};
use base64::Engine;

/// What an instance runs at its first boot, with the words to fill in between at signs.
const SCRIPT: &str = include_str!("../../../../infra/aws/user-data.sh");
/// Longest script, before its encoding; EC2's own limit.
const MOST_BYTES: usize = 16 << 10;

/// The request.
pub(super) fn request(
    run: RunInstancesFluentBuilder,
    wanted: &Wanted,
    root: &Root,
    choice: &Choice,
    order: &Order,
) -> anyhow::Result<RunInstancesFluentBuilder> {
    let disk = EbsBlockDevice::builder().volume_type(VolumeType::Gp3).volume_size(root.disk_gb(wanted) as i32).encrypted(true).delete_on_termination(true);
    let network = InstanceNetworkInterfaceSpecification::builder()
        .device_index(0)
        .subnet_id(&choice.subnet)
        .groups(&wanted.security_group)
        .associate_public_ip_address(true)
        .delete_on_termination(true);
    // A process of the host itself is one hop away; one in a network behind it, or a request that is passed on, is more.
    let metadata = InstanceMetadataOptionsRequest::builder()
        .http_endpoint(InstanceMetadataEndpointState::Enabled)
        .http_tokens(HttpTokensState::Required)
        .http_put_response_hop_limit(1)
        .instance_metadata_tags(InstanceMetadataTagsState::Disabled);
    let mut tagged = vec![ResourceType::Instance, ResourceType::Volume, ResourceType::NetworkInterface];
    let mut run = run
        .min_count(1)
        .max_count(1)
        // An intent is one attempt at one offer, so no two requests share it.
        .client_token(order.instance_id.to_string())
        .image_id(&wanted.ami)
        .instance_type(InstanceType::from(choice.kind.as_str()))
        .block_device_mappings(BlockDeviceMapping::builder().device_name(&root.device).ebs(disk.build()).build())
        .network_interfaces(network.build())
        .metadata_options(metadata.build())
        .instance_initiated_shutdown_behavior(ShutdownBehavior::Terminate)
        .user_data(base64::engine::general_purpose::STANDARD.encode(script(wanted, &order.boot_token)?));
    if let Some(most) = choice.spot {
        // One that is never billed above what was reserved for it; it ends, and is not asked for again.
        let spot = SpotMarketOptions::builder()
            .spot_instance_type(SpotInstanceType::OneTime)
            .instance_interruption_behavior(InstanceInterruptionBehavior::Terminate)
            .max_price(dollars(most));
        run = run.instance_market_options(InstanceMarketOptionsRequest::builder().market_type(MarketType::Spot).spot_options(spot.build()).build());
        tagged.push(ResourceType::SpotInstancesRequest);
    }
    for what in tagged {
        let tag = |key: &str| Tag::builder().key(key).value(&order.label).build();
        run = run.tag_specifications(TagSpecification::builder().resource_type(what).tags(tag(LABEL)).tags(tag("Name")).build());
    }
    Ok(run)
}

/// What the instance runs at its first boot. Nothing in it can end the quotes that it stands in.
pub(super) fn script(wanted: &Wanted, boot_token: &str) -> anyhow::Result<String> {
    let mut script = SCRIPT.to_owned();
    let (api, life, boot) = (wanted.api(), wanted.max_life_s.to_string(), wanted.boot_s.to_string());
    for (word, value) in [("API", api.as_str()), ("BOOT_TOKEN", boot_token), ("WORKER_IMAGE", &wanted.image), ("MAX_LIFE_S", &life), ("BOOT_S", &boot)] {
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~:/@%".contains(&byte);
        ensure!(!value.is_empty() && value.bytes().all(plain), "{word} has a character that the instance's script may not hold");
        script = script.replace(&format!("@{word}@"), value);
    }
    ensure!(script.len() <= MOST_BYTES, "the instance's script is too long");
    Ok(script)
}

/// As the service writes prices.
fn dollars(microusd: i64) -> String {
    format!("{}.{:06}", microusd / 1_000_000, microusd % 1_000_000)
}

/// There is none of this kind now, there, at that price or within what the account may have: the next offer may do. Some of these come with a status
/// that elsewhere means that the service itself failed.
const FULL: [&str; 14] = [
    "InsufficientInstanceCapacity",
    "InsufficientHostCapacity",
    "InsufficientCapacity",
    "InsufficientReservedInstanceCapacity",
    "InsufficientFreeAddressesInSubnet",
    "InstanceLimitExceeded",
    "VcpuLimitExceeded",
    "MaxSpotInstanceCountExceeded",
    "SpotMaxPriceTooLow",
    "Unsupported",
    "UnsupportedOperation",
    "CapacityNotAvailable",
    // The account has rented no spot machine yet, and this role may not make the role for it.
    "AuthFailure.ServiceLinkedRoleCreationNotPermitted",
    "VolumeLimitExceeded",
];
/// Asked too often: it was turned away before anything was done.
const TOO_OFTEN: [&str; 4] = ["RequestLimitExceeded", "Throttling", "ThrottlingException", "RequestThrottled"];
/// The token was used before, so there may be a machine by it.
const USED: &str = "IdempotentParameterMismatch";

/// What an order that gave no machine means. Only what the service has said in so many words, or what never left, is a refusal.
pub(super) fn not_made(error: SdkError<RunInstancesError>) -> NotMade {
    let why = anyhow::anyhow!("{}", said(&error));
    match &error {
        SdkError::ConstructionFailure(_) => NotMade::Refused(why),
        SdkError::DispatchFailure(failure) if was_refused(failure.as_connector_error().map(|error| error as &(dyn std::error::Error + 'static))) => {
            NotMade::Refused(why)
        }
        SdkError::ServiceError(service) => {
            let (status, code) = (service.raw().status().as_u16(), service.err().code().unwrap_or_default());
            match code {
                code if FULL.contains(&code) => NotMade::Full(why),
                code if TOO_OFTEN.contains(&code) => NotMade::Refused(why),
                USED => NotMade::Unknown(why),
                "" => NotMade::Unknown(why),
                _ if (400..500).contains(&status) => NotMade::Refused(why),
                // It failed; what it had done by then it doesn't say.
                _ => NotMade::Unknown(why),
            }
        }
        // Sent, and not answered, or not so that it can be read.
        _ => NotMade::Unknown(why),
    }
}

/// Whether nobody was there to take the connection.
fn was_refused(mut error: Option<&(dyn std::error::Error + 'static)>) -> bool {
    while let Some(link) = error {
        if link.downcast_ref::<std::io::Error>().is_some_and(|io| io.kind() == std::io::ErrorKind::ConnectionRefused) {
            return true;
        }
        error = link.source();
    }
    false
}
