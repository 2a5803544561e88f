#include "api/grpc_call.h"

#include "runtime.pb-c.h"

/* The table of the service Dapr: all 74 methods of the contract (facts 3.2). What isn't there says
 * why. */

#define PB(message) &dapr__proto__runtime__v1__##message##__descriptor
#define NOTHING PB(empty)

static const char ACTORS[] = "actors aren't there yet: keep the state in a state store instead";
static const char WORKFLOWS[] = "workflows aren't there yet";
static const char JOBS[] = "jobs aren't there yet: use a cron binding instead";
static const char CONVERSATION[] = "the conversation API isn't there: call the model's own API";

static const struct grpc_method table[] = {
    { S("InvokeService"), "invoke", "v1", PB(invoke_service_request),
      &dapr__proto__common__v1__invoke_response__descriptor, .unary = invoke_service_rpc },

    { S("GetState"), "state", "v1", PB(get_state_request), PB(get_state_response),
      .unary = state_get_rpc },
    { S("GetBulkState"), "state", "v1", PB(get_bulk_state_request), PB(get_bulk_state_response),
      .unary = state_bulk_rpc },
    { S("SaveState"), "state", "v1", PB(save_state_request), NOTHING, .unary = state_save_rpc },
    { S("DeleteState"), "state", "v1", PB(delete_state_request), NOTHING,
      .unary = state_delete_rpc },
    { S("DeleteBulkState"), "state", "v1", PB(delete_bulk_state_request), NOTHING,
      .unary = state_delete_bulk_rpc },
    { S("ExecuteStateTransaction"), "state", "v1", PB(execute_state_transaction_request), NOTHING,
      .unary = state_transact_rpc },
    { S("QueryStateAlpha1"), "state", "v1alpha1", PB(query_state_request), PB(query_state_response),
      .unary = state_query_rpc },

    { S("PublishEvent"), "publish", "v1", PB(publish_event_request), NOTHING,
      .unary = publish_rpc },
    { S("BulkPublishEvent"), "publish", "v1", PB(bulk_publish_request), PB(bulk_publish_response),
      .unary = publish_bulk_rpc },
    { S("BulkPublishEventAlpha1"), "publish", "v1alpha1", PB(bulk_publish_request),
      PB(bulk_publish_response), .unary = publish_bulk_rpc },
    { S("SubscribeTopicEventsAlpha1"), "subscribe", "v1alpha1",
      PB(subscribe_topic_events_request_alpha1), PB(subscribe_topic_events_response_alpha1),
      .stream = subscribe_rpc },

    { S("InvokeBinding"), "bindings", "v1", PB(invoke_binding_request), PB(invoke_binding_response),
      .unary = binding_rpc },

    { S("GetSecret"), "secrets", "v1", PB(get_secret_request), PB(get_secret_response),
      .unary = secret_get_rpc },
    { S("GetBulkSecret"), "secrets", "v1", PB(get_bulk_secret_request),
      PB(get_bulk_secret_response), .unary = secret_bulk_rpc },

    { S("GetConfiguration"), "configuration", "v1", PB(get_configuration_request),
      PB(get_configuration_response), .unary = configuration_get_rpc },
    { S("GetConfigurationAlpha1"), "configuration", "v1alpha1", PB(get_configuration_request),
      PB(get_configuration_response), .unary = configuration_get_rpc },
    { S("SubscribeConfiguration"), "configuration", "v1", PB(subscribe_configuration_request),
      PB(subscribe_configuration_response), .stream = configuration_subscribe_rpc },
    { S("SubscribeConfigurationAlpha1"), "configuration", "v1alpha1",
      PB(subscribe_configuration_request), PB(subscribe_configuration_response),
      .stream = configuration_subscribe_rpc },
    { S("UnsubscribeConfiguration"), "configuration", "v1", PB(unsubscribe_configuration_request),
      PB(unsubscribe_configuration_response), .unary = configuration_unsubscribe_rpc },
    { S("UnsubscribeConfigurationAlpha1"), "configuration", "v1alpha1",
      PB(unsubscribe_configuration_request), PB(unsubscribe_configuration_response),
      .unary = configuration_unsubscribe_rpc },

    { S("TryLockAlpha1"), "lock", "v1alpha1", PB(try_lock_request), PB(try_lock_response),
      .unary = lock_try_rpc },
    { S("UnlockAlpha1"), "unlock", "v1alpha1", PB(unlock_request), PB(unlock_response),
      .unary = unlock_rpc },

    { S("EncryptAlpha1"), "crypto", "v1alpha1", PB(encrypt_request), PB(encrypt_response),
      .stream = encrypt_rpc },
    { S("DecryptAlpha1"), "crypto", "v1alpha1", PB(decrypt_request), PB(decrypt_response),
      .stream = decrypt_rpc },
    { S("SubtleGetKeyAlpha1"), "subtlecrypto", "v1alpha1", PB(subtle_get_key_request),
      PB(subtle_get_key_response), .unary = subtle_get_key_rpc },
    { S("SubtleEncryptAlpha1"), "subtlecrypto", "v1alpha1", PB(subtle_encrypt_request),
      PB(subtle_encrypt_response), .unary = subtle_encrypt_rpc },
    { S("SubtleDecryptAlpha1"), "subtlecrypto", "v1alpha1", PB(subtle_decrypt_request),
      PB(subtle_decrypt_response), .unary = subtle_decrypt_rpc },
    { S("SubtleWrapKeyAlpha1"), "subtlecrypto", "v1alpha1", PB(subtle_wrap_key_request),
      PB(subtle_wrap_key_response), .unary = subtle_wrap_rpc },
    { S("SubtleUnwrapKeyAlpha1"), "subtlecrypto", "v1alpha1", PB(subtle_unwrap_key_request),
      PB(subtle_unwrap_key_response), .unary = subtle_unwrap_rpc },
    { S("SubtleSignAlpha1"), "subtlecrypto", "v1alpha1", PB(subtle_sign_request),
      PB(subtle_sign_response), .unary = subtle_sign_rpc },
    { S("SubtleVerifyAlpha1"), "subtlecrypto", "v1alpha1", PB(subtle_verify_request),
      PB(subtle_verify_response), .unary = subtle_verify_rpc },

    { S("GetMetadata"), "metadata", "v1", PB(get_metadata_request), PB(get_metadata_response),
      .unary = metadata_get_rpc },
    { S("SetMetadata"), "metadata", "v1", PB(set_metadata_request), NOTHING,
      .unary = metadata_set_rpc },
    { S("Shutdown"), "shutdown", "v1", PB(shutdown_request), NOTHING, .unary = shutdown_rpc },

    { S("RegisterActorTimer"), "actors", "v1", .why = ACTORS },
    { S("UnregisterActorTimer"), "actors", "v1", .why = ACTORS },
    { S("ListActorTimers"), "actors", "v1", .why = ACTORS },
    { S("GetActorTimer"), "actors", "v1", .why = ACTORS },
    { S("RegisterActorReminder"), "actors", "v1", .why = ACTORS },
    { S("UnregisterActorReminder"), "actors", "v1", .why = ACTORS },
    { S("UnregisterActorRemindersByType"), "actors", "v1", .why = ACTORS },
    { S("ListActorReminders"), "actors", "v1", .why = ACTORS },
    { S("GetActorReminder"), "actors", "v1", .why = ACTORS },
    { S("GetActorState"), "actors", "v1", .why = ACTORS },
    { S("ExecuteActorStateTransaction"), "actors", "v1", .why = ACTORS },
    { S("InvokeActor"), "actors", "v1", .why = ACTORS },
    { S("SubscribeActorEventsAlpha1"), "actors", "v1alpha1", .why = ACTORS },

    { S("StartWorkflowAlpha1"), "workflows", "v1alpha1", .why = WORKFLOWS },
    { S("GetWorkflowAlpha1"), "workflows", "v1alpha1", .why = WORKFLOWS },
    { S("PurgeWorkflowAlpha1"), "workflows", "v1alpha1", .why = WORKFLOWS },
    { S("TerminateWorkflowAlpha1"), "workflows", "v1alpha1", .why = WORKFLOWS },
    { S("PauseWorkflowAlpha1"), "workflows", "v1alpha1", .why = WORKFLOWS },
    { S("ResumeWorkflowAlpha1"), "workflows", "v1alpha1", .why = WORKFLOWS },
    { S("RaiseEventWorkflowAlpha1"), "workflows", "v1alpha1", .why = WORKFLOWS },
    { S("StartWorkflowBeta1"), "workflows", "v1beta1", .why = WORKFLOWS },
    { S("GetWorkflowBeta1"), "workflows", "v1beta1", .why = WORKFLOWS },
    { S("PurgeWorkflowBeta1"), "workflows", "v1beta1", .why = WORKFLOWS },
    { S("TerminateWorkflowBeta1"), "workflows", "v1beta1", .why = WORKFLOWS },
    { S("PauseWorkflowBeta1"), "workflows", "v1beta1", .why = WORKFLOWS },
    { S("ResumeWorkflowBeta1"), "workflows", "v1beta1", .why = WORKFLOWS },
    { S("RaiseEventWorkflowBeta1"), "workflows", "v1beta1", .why = WORKFLOWS },

    { S("ScheduleJob"), "jobs", "v1", .why = JOBS },
    { S("ScheduleJobAlpha1"), "jobs", "v1alpha1", .why = JOBS },
    { S("GetJob"), "jobs", "v1", .why = JOBS },
    { S("GetJobAlpha1"), "jobs", "v1alpha1", .why = JOBS },
    { S("DeleteJob"), "jobs", "v1", .why = JOBS },
    { S("DeleteJobAlpha1"), "jobs", "v1alpha1", .why = JOBS },
    { S("DeleteJobsByPrefix"), "jobs", "v1", .why = JOBS },
    { S("DeleteJobsByPrefixAlpha1"), "jobs", "v1alpha1", .why = JOBS },
    { S("ListJobs"), "jobs", "v1", .why = JOBS },
    { S("ListJobsAlpha1"), "jobs", "v1alpha1", .why = JOBS },

    { S("ConverseAlpha1"), "conversation", "v1alpha1", .why = CONVERSATION },
    { S("ConverseAlpha2"), "conversation", "v1alpha2", .why = CONVERSATION },
};

const struct grpc_method *grpc_method_find(str name)
{
    for (size_t i = 0; i < COUNT(table); i++)
        if (str_eq(table[i].name, name))
            return &table[i];
    return NULL;
}

const struct grpc_method *grpc_method_at(size_t i)
{
    return i < COUNT(table) ? &table[i] : NULL;
}
