"""The command `rbee`: a file per noun, loaded when it is typed; each verb is one call into the engine."""
