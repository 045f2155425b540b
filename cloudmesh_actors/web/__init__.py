"""The web console: pages, their live streams, and the API. ``docs/console.md`` tells how to use it.

=============================  =====================================================================
`app`                          everything put together: a FastAPI application
`access` `guard` `forms`       who may do what: the rules, held against each request; forms
`audit`                        who did what
`problems`                     errors as pages and as problem+json
`pages` `words`                templates, and how values are written in them
`live` `streams`               pictures of what is shown, and how their changes reach the browsers
`launch` `launches`            pages of the launcher: recipes, one launch, all of them
`jobs` `joblog`                pages of jobs, and the log lines of one
`counting`                     counts that are too dear for each request
`api` `reference`              /api/v1, and its documentation page
`health`                       /healthz and /readyz
=============================  =====================================================================

Pages render on the server and can be read without JavaScript. `workers/web.py` is the process.
"""
