// An OpenID-certified authorization server, oidc-provider, for one MCP server: node provider.mjs RESOURCE SCOPE…
// It prints its issuer when it listens. Anybody may log in; its own plain pages ask for consent.
import { createServer } from 'node:http';

import Provider from 'oidc-provider';

const [resource, ...scopes] = process.argv.slice(2);

const server = createServer();
server.listen(0, '127.0.0.1', () => {
  const issuer = `http://127.0.0.1:${server.address().port}`;
  const provider = new Provider(issuer, {
    clients: [{
      client_id: 'mcp-server', client_secret: 'only for these tests', redirect_uris: [], response_types: [], grant_types: [],
    }],
    cookies: { keys: ['only for these tests'] },
    features: {
      deviceFlow: { enabled: true },
      introspection: { enabled: true },
      registration: { enabled: true },
      resourceIndicators: {
        enabled: true,
        getResourceServerInfo: () => ({ audience: resource, scope: scopes.join(' '), accessTokenFormat: 'opaque' }),
      },
      revocation: { enabled: true },
    },
    findAccount: (_, id) => ({ accountId: id, claims: () => ({ sub: id }) }),
    rotateRefreshToken: true,
    scopes: ['openid', 'offline_access', ...scopes], // else clients that name them cannot register
  });
  server.on('request', provider.callback());
  console.log(issuer);
});
