"""Names of OpenTelemetry's GenAI conventions, of the one release that is written.

They are in development and change from release to release; whoever moves to a newer one changes this file.
"""

VERSION = "0.1.0"
"""Of semantic-conventions-genai, the first release of its own."""
SCHEMA_URL = "https://opentelemetry.io/schemas/1.45.0"
"""Of the general conventions that this release depends on."""

CHAT, EXECUTE_TOOL, INVOKE_WORKFLOW = "chat", "execute_tool", "invoke_workflow"

OPERATION = "gen_ai.operation.name"
PROVIDER = "gen_ai.provider.name"
CONVERSATION = "gen_ai.conversation.id"
AGENT = "gen_ai.agent.name"
AGENT_VERSION = "gen_ai.agent.version"
REQUEST_MODEL = "gen_ai.request.model"
TEMPERATURE = "gen_ai.request.temperature"
TOP_P = "gen_ai.request.top_p"
MAX_TOKENS = "gen_ai.request.max_tokens"
CHOICES = "gen_ai.request.choice.count"
STOP = "gen_ai.request.stop_sequences"
RESPONSE_MODEL = "gen_ai.response.model"
FINISH_REASONS = "gen_ai.response.finish_reasons"
INPUT_TOKENS = "gen_ai.usage.input_tokens"
OUTPUT_TOKENS = "gen_ai.usage.output_tokens"
INPUT_MESSAGES = "gen_ai.input.messages"
OUTPUT_MESSAGES = "gen_ai.output.messages"
TOOL_DEFINITIONS = "gen_ai.tool.definitions"
TOOL_NAME = "gen_ai.tool.name"
TOOL_CALL = "gen_ai.tool.call.id"
TOOL_ARGUMENTS = "gen_ai.tool.call.arguments"
TOOL_RESULT = "gen_ai.tool.call.result"
ERROR_TYPE = "error.type"

OURS = "codojo."
"""Before the names of what the conventions have no word for: token ids, verdicts, where in the graph."""
