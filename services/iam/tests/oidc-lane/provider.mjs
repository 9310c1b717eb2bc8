// A certified OpenID provider for tests. One law: it knows nothing of us but two clients and where they are sent back.
// Run: node provider.mjs <port> <redirect uri of the public client> <redirect uri of the one with a secret> <secret>
import { Provider } from 'oidc-provider';

const [port, open, closed, secret] = process.argv.slice(2);
const issuer = `http://127.0.0.1:${port}`;
const provider = new Provider(issuer, {
  clients: [
    { client_id: 'gpuaas', token_endpoint_auth_method: 'none', redirect_uris: [open], application_type: 'native' },
    { client_id: 'gpuaas-closed', client_secret: secret, redirect_uris: [closed], application_type: 'native' },
  ],
  claims: { openid: ['sub'], email: ['email', 'email_verified'], profile: ['name'] },
  pkce: { required: () => true },
  findAccount: (_, id) => ({
    accountId: id,
    claims: () => ({
      sub: id,
      email: `${id}@acme-research.example`,
      email_verified: !id.startsWith('unverified'),
      name: `The person ${id}`,
    }),
  }),
});
provider.listen(Number(port), '127.0.0.1', () => console.log(`listens at ${issuer}`));
