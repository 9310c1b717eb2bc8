"""The histories iam keeps. One law: each has one subject per id, so its name is unique where the subject says.

Tenants are unique everywhere, projects in their tenant, users and roles on the platform. Service accounts, bindings
and keys get their ids from iam, so that no two tenants can ever name the same one.
"""

from __future__ import annotations

from typing import Final

from gpuaas.common.commands import Entity
from gpuaas.iam.domain import (
    api_key,
    binding,
    directory,
    duty_rule,
    group,
    group_tree,
    identity,
    identity_provider,
    invitation,
    password,
    principal,
    prohibition,
    project,
    project_share,
    received_share,
    role,
    service_account,
    session,
    sign_in_failure,
    signing_key,
    support,
    tenant,
    tenant_ceiling,
    tenant_role,
    user,
    workload,
)

SERVICE: Final = "iam"

TENANT: Final = Entity(SERVICE, "tenant", tenant.TENANT, tenant.VOCABULARY)
PROJECT: Final = Entity(SERVICE, "project", project.PROJECT, project.VOCABULARY)
PROJECT_SHARE: Final = Entity(SERVICE, "project-share", project_share.PROJECT_SHARE, project_share.VOCABULARY)
RECEIVED_SHARE: Final = Entity(SERVICE, "received-share", received_share.RECEIVED_SHARE, received_share.VOCABULARY)
USER: Final = Entity(SERVICE, "user", user.USER, user.VOCABULARY)
GROUP: Final = Entity(SERVICE, "group", group.GROUP, group.VOCABULARY)
GROUP_TREE: Final = Entity(SERVICE, "group-tree", group_tree.GROUP_TREE, group_tree.VOCABULARY)
PRINCIPAL: Final = Entity(SERVICE, "principal", principal.PRINCIPAL, principal.VOCABULARY)
SERVICE_ACCOUNT: Final = Entity(SERVICE, "service-account", service_account.SERVICE_ACCOUNT, service_account.VOCABULARY)
TENANT_ROLE: Final = Entity(SERVICE, "tenant-role", tenant_role.TENANT_ROLE, tenant_role.VOCABULARY)
ROLE: Final = Entity(SERVICE, "role", role.ROLE, role.VOCABULARY)
BINDING: Final = Entity(SERVICE, "binding", binding.BINDING, binding.VOCABULARY)
API_KEY: Final = Entity(SERVICE, "api-key", api_key.API_KEY, api_key.VOCABULARY)
SIGNING_KEY: Final = Entity(SERVICE, "signing-key", signing_key.SIGNING_KEY, signing_key.VOCABULARY)
PROHIBITION: Final = Entity(SERVICE, "prohibition", prohibition.PROHIBITION, prohibition.VOCABULARY)
TENANT_CEILING: Final = Entity(SERVICE, "tenant-ceiling", tenant_ceiling.CEILING, tenant_ceiling.VOCABULARY)
DUTY_RULE: Final = Entity(SERVICE, "duty-rule", duty_rule.DUTY_RULE, duty_rule.VOCABULARY)
SUPPORT: Final = Entity(SERVICE, "support-session", support.SUPPORT, support.VOCABULARY)
SUPPORT_POLICY: Final = Entity(SERVICE, "support-policy", support.POLICY, support.POLICY_VOCABULARY)
SESSION: Final = Entity(SERVICE, "session", session.SESSION, session.VOCABULARY)
PASSWORD: Final = Entity(SERVICE, "password", password.PASSWORD, password.VOCABULARY)
SIGN_IN_FAILURE: Final = Entity(SERVICE, "sign-in-failure", sign_in_failure.SIGN_IN_FAILURE, sign_in_failure.VOCABULARY)
INVITATION: Final = Entity(SERVICE, "invitation", invitation.INVITATION, invitation.VOCABULARY)
IDENTITY: Final = Entity(SERVICE, "identity", identity.IDENTITY, identity.VOCABULARY)
PROVIDER: Final = Entity(SERVICE, "identity-provider", identity_provider.PROVIDER, identity_provider.VOCABULARY)
DIRECTORY_USER: Final = Entity(SERVICE, "directory-user", directory.DIRECTORY_USER, directory.USER_VOCABULARY)
DIRECTORY_GROUP: Final = Entity(SERVICE, "directory-group", directory.DIRECTORY_GROUP, directory.GROUP_VOCABULARY)
WORKLOAD_TRUST: Final = Entity(SERVICE, "workload-trust", workload.TRUST, workload.TRUST_VOCABULARY)
WORKLOAD: Final = Entity(SERVICE, "workload", workload.WORKLOAD, workload.WORKLOAD_VOCABULARY)
EXCHANGE: Final = Entity(SERVICE, "exchange", workload.EXCHANGE, workload.EXCHANGE_VOCABULARY)
