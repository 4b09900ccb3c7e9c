"""The transcripts of turns: kept, shown as details, exported, and handed to another agent."""
